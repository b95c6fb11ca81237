"""How a student hears a teacher: in its own classes, of what the teacher's role is, and of its own kind of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from skystill.distillation.roles import Role, heard, said, scope_of
from skystill.distillation.translation import Translation, translations
from skystill.errors import ConfigError
from skystill.kinds import BoxKind
from skystill.structures import Detections, Knowledge, Scope, Targets


@dataclass(frozen=True)
class Hearing:
    """Of one teacher. mute: it predicts another kind of boxes, so that its features alone can teach."""

    translation: Translation
    scope: Scope | None
    share: float = 1.0
    mute: bool = False

    def knowledge(self, told: Knowledge) -> Knowledge:
        """What the teacher said, in the student's classes; methods keep to its scope."""
        if self.mute:
            return Knowledge(told.pyramid, told.strides, scope=self.scope)
        return replace(self.translation(told), scope=self.scope)

    def detections(self, found: Detections) -> Detections:
        """What the teacher found, as far as it may speak of it."""
        return said(self.translation.of_detections(found), self.scope)

    def truth(self, targets: Sequence[Targets]) -> list[Targets]:
        """The truth of which it may speak."""
        return heard(targets, self.scope)


def hearings(
    student: tuple[Sequence[str], BoxKind],
    teachers: Sequence[tuple[Sequence[str], BoxKind]],
    names: Mapping[str, str] | None,
    roles: Sequence[Role],
) -> list[Hearing]:
    """One for each teacher. student, teachers: class names and kind of boxes; names: see `translations`.

    Errors: ConfigError for classes that do not meet, and for roles that are not one for each.
    """
    if roles and len(roles) != len(teachers):
        raise ConfigError(f"teacher.roles has {len(roles)} roles for {len(teachers)} teachers. Give each one.")
    if strange := [role for role in roles if not isinstance(role, Role)]:
        raise ConfigError(
            f"a role is a {type(strange[0]).__name__}; give skystill.Role(share=..., classes=..., sides=...)."
        )
    roles = roles or [Role()] * len(teachers)
    classes, kind = student
    total = sum(role.share for role in roles)
    return [
        Hearing(words, scope_of(classes, words, role), role.share / total, mute=theirs != kind)
        for words, role, (_, theirs) in zip(
            translations(classes, [names for names, _ in teachers], names), roles, teachers, strict=True
        )
    ]
