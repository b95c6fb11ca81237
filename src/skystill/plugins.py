"""Detectors and methods of other packages, for the verbs.

A package that names its module as an entry point of the group "skystill" has it imported before a verb runs; the module
enters what it brings in FAMILIES, PRESETS or METHODS. In Python a plain import of it does the same.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from skystill.errors import ConfigError

GROUP = "skystill"


def load_plugins() -> None:
    """Imports them all. Errors: ConfigError that names the one that fails, and its package."""
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # it is any code
            package = f" of {point.dist.name}" if point.dist is not None else ""
            said = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"plugin {point.value}{package} cannot be imported ({said}). Mend it, or uninstall it."
            ) from error
