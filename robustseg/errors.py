"""The errors that a user of robustseg can cause and mend.

``RobustsegError`` is what the command line turns into one line and exit code 2::

    RobustsegError
    ├── DataError        a data set, image or label file is missing or unsuitable
    ├── NameLookupError  a model, corruption, class or recipe name is unknown
    ├── CheckpointError  a checkpoint is missing or belongs to another network
    ├── SettingError     an option or a recipe value is out of its range
    └── PluginError      a corruption of another package fails
"""

__all__ = [
    "CheckpointError",
    "DataError",
    "NameLookupError",
    "PluginError",
    "RobustsegError",
    "SettingError",
    "first_line",
]


class RobustsegError(Exception):
    """Base of all errors whose message says what was wrong, what was found, what to do."""


class DataError(RobustsegError):
    """A data set, image or label file is missing, unreadable or of the wrong kind."""


class NameLookupError(RobustsegError):
    """A model, corruption or recipe name is unknown."""


class CheckpointError(RobustsegError):
    """A checkpoint is missing, unreadable or belongs to another network."""


class SettingError(RobustsegError):
    """An option or a recipe value is out of its range."""


class PluginError(RobustsegError):
    """A corruption of another package cannot be loaded, or does not do what it must."""


def first_line(error: BaseException) -> str:
    """Give the first line of an error's message; its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
