"""Errors that a user can mend. The command line prints them as one line and exits with 2, without a traceback."""


class SkystillError(Exception):
    """Something in the input is wrong. The message says what, where, and the mend, in one line."""


class DataError(SkystillError):
    """An image or an annotation cannot be used as it is."""


class ConfigError(SkystillError):
    """A recipe, an option or a combination of them cannot work."""


class WeightsError(SkystillError):
    """A weights file is missing, broken, or belongs to another architecture."""
