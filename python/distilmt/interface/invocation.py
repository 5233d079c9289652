"""What the user wrote to start a job: the words of the command line, or a call in Python."""

from __future__ import annotations

import shlex
from contextvars import ContextVar
from typing import Any

from distilmt.interface.config import as_call

# Set by the command line for as long as it works (cli.py).
WORDS: ContextVar[tuple[str, ...] | None] = ContextVar("words", default=None)


def invocation(function: str, config: Any) -> str:
    """`distilmt` and its words, as a shell reads them; outside the command line the call of a function with this `config`."""
    words = WORDS.get()
    return as_call(f"distilmt.{function}", config) if words is None else shlex.join(["distilmt", *words])
