"""Errors a user can cause, each with the exit code of the command line.

A message is one clear sentence: where (`file:line`), what is wrong, and what to do.
"""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; the command line prints the message alone, without a traceback."""

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A wrong option, argument or combination of them (exit code 2)."""

    exit_code = 2


class DataError(UserError, ValueError):
    """Input text, a model or a stored file that cannot be used as it is (exit code 3)."""

    exit_code = 3


class ResourceError(UserError, OSError):
    """Disk, memory, a device or another process stands in the way (exit code 4)."""

    exit_code = 4


class MemoryExhausted(ResourceError):
    """Memory does not suffice for a call; it may suffice for a part of it."""


class DeviceFailed(ResourceError):
    """A device said no to a call, and may to all that follow: a process that has seen it had better be another."""
