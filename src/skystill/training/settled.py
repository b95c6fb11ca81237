"""A recipe's method with every setting written out, so that it means the same under versions with other defaults."""

from __future__ import annotations

from dataclasses import replace

from skystill.distillation.methods import whole_settings
from skystill.training.recipe import MethodConfig


def settled(method: MethodConfig) -> MethodConfig:
    """The same method. Errors: ConfigError for settings that it does not take."""
    return replace(method, settings=whole_settings(method.name, method.settings))
