"""The libraries of the extra `study`, imported when first needed: `import distilmt` does not pay for them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from distilmt.errors import ConfigError


def library(name: str) -> Any:
    """The module `name`, as in "scipy.stats".

    Raises: ConfigError: it is not installed; the message has the command.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"statistics: needs {name.partition('.')[0]} ({error}) - pip install 'distilmt[study]'"
        ) from None
