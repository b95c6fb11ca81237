"""Several methods at once, each with a weight: `pkd+bckd` teaches features by one and predictions by the other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from skystill.distillation.method import Method
from skystill.errors import ConfigError
from skystill.structures import Dense, Knowledge, Targets


class Combined(Method):
    """Methods by name, which all see the same knowledge. weights: a factor for all terms of a method, 1 where none is
    given.

    Returns every method's terms. A term that several of them return is told apart by the method's name: both "ld" of
    ltd_released+ld become "ltd_released_ld" and "ld_ld".
    Errors: ConfigError for a weight of no method, or one that is negative or not finite.
    """

    def __init__(self, methods: Mapping[str, Method], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        for name, weight in (weights or {}).items():
            if name not in methods:
                raise ConfigError(f"method.weights has no use for {name!r}; the methods are {', '.join(methods)}.")
            if not 0 <= weight < math.inf:
                raise ConfigError(f"method.weights: {name} is {weight}. Give a number of at least 0.")
        self.methods = nn.ModuleDict(methods)
        self.weights = dict.fromkeys(methods, 1.0) | dict(weights or {})

    def each(self) -> Iterator[tuple[str, Method]]:
        """Methods with their names."""
        return iter(self.methods.items())  # type: ignore[arg-type]

    @property
    def features(self) -> bool:
        """Whether any of them does."""
        return any(method.features for _, method in self.each())

    def build(self, student: Knowledge, teacher: Knowledge) -> None:
        """Prepares every method."""
        for _, method in self.each():
            method.prepare(student, teacher)

    def forward(self, student: Knowledge, teacher: Knowledge, targets: list[Targets]) -> dict[str, Tensor]:
        """See Method."""
        found = {}
        for name, method in self.each():
            method.progress = self.progress
            terms = method(student, teacher, targets)
            found[name] = {term: self.weights[name] * value for term, value in terms.items()}
        return merged(found)

    def bindings(self) -> dict[str, Tensor]:
        """All methods' bindings, named as terms are."""
        return merged({name: method.bindings() for name, method in self.each()})

    def taught(self, dense_t: Dense, targets: list[Targets]) -> dict[str, Tensor]:
        """All methods' regions, named as terms are."""
        return merged({name: method.taught(dense_t, targets) for name, method in self.each()})


def merged(found: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One dict of each method's; names that several of them use become <method>_<name> in all of them."""
    uses = Counter(key for values in found.values() for key in values)
    return {
        f"{method}_{key}" if uses[key] > 1 else key: value
        for method, values in found.items()
        for key, value in values.items()
    }
