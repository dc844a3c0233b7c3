"""The errors that a person reads: one sentence that says what is wrong, where, and what to do about it.

Everything that this package raises on purpose is a :class:`RecbatchError`; the command line prints its message
without a traceback and exits with its ``exit_code``. Anything else that escapes is a bug.
"""

from __future__ import annotations


class RecbatchError(Exception):
    """The work failed: a step of the night could not be done (exit code 1)."""

    exit_code = 1


class InputError(RecbatchError):
    """The work cannot start: the command line, the configuration or the input data is wrong (exit code 2)."""

    exit_code = 2


class ConfigError(InputError):
    """The configuration is wrong. The message names the key, the value, the place and the nearest valid key.

    Args:
        message: what is wrong and what to do.
        key: the key that it is about, such as ``tables.user2item.k``; who knows the file adds the place to the message
            (:meth:`recbatch.config.load.LoadedConfig.located`).
    """

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key
