"""The task `MODULE:FUNCTION`: any code of the user's, called with the cell's settings as keywords.

    def compress(level, size):                 # a function: one call is one pass, all of it timed
        return {"bytes": len(zlib.compress(b"text" * size, level))}

    class Compress:                            # a class: its constructor loads, a call of the object is one pass
        def __init__(self, level, size): ...
        def __call__(self): return {"bytes": ...}

A pass returns a dict of numbers, or None. A parameter named `seed` that neither factors nor `fixed` set gets the number
of the block, one named `cell` the name of the cell, for files of its own.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

from distilmt.errors import ConfigError, DataError
from distilmt.state.storage import plain
from distilmt.study.measure import METERED, Numbers, Work


def load(task: str, settings: Mapping[str, Any], block: int, path: Sequence[str], cell: str = "") -> Work:
    """Imports the function, or makes the object.

    Args:
        task: MODULE:FUNCTION.
        path: folders to look for MODULE in, before all others.

    Raises:
        ConfigError: no such module or function, or it does not take these settings.
    """
    module_name, _, called = task.partition(":")
    sys.path[:0] = path
    try:
        function = getattr(importlib.import_module(module_name), called)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not module_name.startswith(error.name or " "):
            raise  # a module that the user's own module asks for
        raise ConfigError(f"task {task}: {error} - looked for {module_name}.py in {' and '.join(path)} too") from None
    parameters = inspect.signature(function).parameters
    own = dict(settings)
    for name, value in (("seed", block), ("cell", cell)):
        if name in parameters:
            own.setdefault(name, value)
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        for key in own:
            if key not in parameters:
                near = difflib.get_close_matches(key, parameters, 1, 0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(parameters) or 'none'}"
                raise ConfigError(f"task {task}: has no parameter {key!r} - {hint}")
    missing = [
        key for key, each in parameters.items()
        if each.default is each.empty and key not in own and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    ]  # fmt: skip
    if missing:
        raise ConfigError(f"task {task}: needs {', '.join(missing)} - set it in `factors` or `fixed`")
    call: Any = function(**own) if inspect.isclass(function) else partial(function, **own)
    return Work(lambda: _numbers(task, call()))


def _numbers(task: str, returned: Any) -> Numbers:
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise DataError(f"task {task}: must return a dict of numbers, got {type(returned).__name__}")
    for key, value in returned.items():
        if key in METERED:
            raise DataError(f"task {task}: {key!r} is what the meter says of a pass - rename it")
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value)):
            raise DataError(f"task {task}: {key!r} must be a finite number or None for unknown, got {value!r}")
    return {str(key): plain(value) for key, value in returned.items()}
