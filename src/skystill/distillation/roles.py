"""Of several teachers, who teaches what; and what a teacher that does not know all classes may speak of.

B batch, N places, K the student's classes, R boxes of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skystill.distillation.translation import Translation, near
from skystill.distillation.views import as_sigmoid, same_bins
from skystill.errors import ConfigError
from skystill.structures import Dense, Detections, Scope, Targets


@dataclass(frozen=True)
class Role:
    """What one of several teachers teaches.

    Args:
        share: weight of its terms; the shares of all teachers are brought to a sum of 1.
        classes: the student's classes that it teaches; None teaches all that it knows.
        sides: it teaches objects whose side, the root of their area, has at least the first and less than the second
            number of pixels, e.g. [0, 32]; None teaches all.
    """

    share: float = 1.0
    classes: list[str] | None = None
    sides: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise ConfigError(f"a teacher's share is {self.share}. Give a number above 0.")
        if self.sides is not None and not (len(self.sides) == 2 and 0 <= self.sides[0] < self.sides[1]):
            raise ConfigError(f"a teacher's sides are {list(self.sides)}. Give two, 0 <= least < most.")


def scope_of(student: Sequence[str], found: Translation, role: Role) -> Scope | None:
    """What a teacher may speak of; None where it is everything.

    Errors: ConfigError for classes that it cannot teach.
    """
    known = [bool(sources) for sources in found.sources]
    if role.classes is not None:
        for name in role.classes:
            if name not in student:
                raise ConfigError(f"teacher.roles: the student has no class {name!r}{near(name, student)}.")
            if not known[list(student).index(name)]:
                raise ConfigError(f"teacher.roles: a teacher shall teach {name}, which it does not know.")
        known = [name in role.classes for name in student]
    if all(known) and role.sides is None:
        return None
    return Scope(tuple(known), None if role.sides is None else (role.sides[0], role.sides[1]))


def speaks_of_all(scopes: Sequence[Scope | None]) -> bool:
    """Whether teachers of these scopes together may speak of every class and every size of object."""
    known = [scope for scope in scopes if scope is not None]
    if len(known) < len(scopes):
        return True
    return all(
        _whole_range([scope.sides or (0.0, math.inf) for scope in known if scope.classes[label]])
        for label in range(len(known[0].classes))
    )


def _whole_range(sides: Sequence[tuple[float, float]]) -> bool:
    """Whether ranges [least, most) leave no size out."""
    reached = 0.0
    for least, most in sorted(sides):
        if least > reached:
            return False
        reached = max(reached, most)
    return reached == math.inf


def heard(targets: Sequence[Targets], scope: Scope | None) -> list[Targets]:
    """The truth of which a teacher may speak."""
    if scope is None:
        return list(targets)
    return [target.rows(_within(target.labels, target.boxes, scope)) for target in targets]


def said(found: Detections, scope: Scope | None) -> Detections:
    """The detections of which a teacher may speak."""
    if scope is None:
        return found
    keep = _within(found.labels, found.boxes, scope)
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def keep_to(scope: Scope | None, dense_s: Dense, dense_t: Dense) -> tuple[Dense, Dense]:
    """Both heads, where the teacher repeats the student wherever it may not speak, so that no gradient arises there.

    A head that tells any object from background (K = 1, of more classes) hears no teacher say that there is nothing:
    there may be what this one does not know. Where it repeats the student it is not sure of anything (`Dense.muted`).
    """
    if scope is None:
        return dense_s, dense_t
    dense_s, dense_t = as_sigmoid(dense_s), as_sigmoid(dense_t)
    if dense_s.edges is not None and dense_t.edges is not None and dense_s.edges.shape[2] == 4:
        edges_s, edges_t = same_bins(dense_s.edges, dense_t.edges)
        dense_s, dense_t = replace(dense_s, edges=edges_s), replace(dense_t, edges=edges_t)
    own = dense_s.detach()
    told, mine = dense_t.logits.float(), own.logits.float()
    placed = _sized(dense_t.boxes, scope)
    size = placed[..., None]
    if dense_t.classes == 1 < len(scope.classes):
        speaks = size & (told > mine)
    else:
        speaks = size & torch.tensor(scope.classes, device=size.device)
    edges = dense_t.edges
    if edges is not None and own.edges is not None and edges.shape == own.edges.shape:
        edges = torch.where(size[..., None], edges.float(), own.edges.float())
    boxes = torch.where(size, dense_t.boxes.float(), own.boxes.float())
    logits = torch.where(speaks, told, mine)
    return dense_s, replace(dense_t, logits=logits, boxes=boxes, edges=edges, muted=~speaks, placed=placed)


def _within(labels: Tensor, boxes: Tensor, scope: Scope) -> Tensor:
    """(M,) whether objects are of a class and a size that the scope holds."""
    return torch.tensor(scope.classes, device=labels.device)[labels] & _sized(boxes, scope)


def _sized(boxes: Tensor, scope: Scope) -> Tensor:
    """(...,) whether boxes (..., 4|5) have a side that the scope holds."""
    if scope.sides is None:
        return torch.ones(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    size = boxes[..., 2:4] if boxes.shape[-1] == 5 else boxes[..., 2:] - boxes[..., :2]
    side: Tensor = size.clamp(min=0).prod(-1).sqrt()
    return (side >= scope.sides[0]) & (side < scope.sides[1])
