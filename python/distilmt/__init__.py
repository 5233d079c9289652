"""Knowledge distillation for machine translation: every method, a fast native teacher, and the bill.

The functions below have the names of their modules and take their place as attributes: `distilmt.train` is the
function, and `from distilmt.train import TrainConfig` finds the module all the same. Their modules import nothing heavy
before they are called, and every other name is imported at its first use: `import distilmt` costs a tenth of a second.
"""

from __future__ import annotations

import importlib as _importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from distilmt.bill.command import bill as bill
from distilmt.bill.forecast import forecast as forecast
from distilmt.bill.payback import payback as payback
from distilmt.distill import distill as distill
from distilmt.evaluate import evaluate as evaluate
from distilmt.label import label as label
from distilmt.quickstart import quickstart as quickstart
from distilmt.report.command import report as report
from distilmt.train import train as train

if TYPE_CHECKING:
    from distilmt import energy as energy
    from distilmt import objectives as objectives
    from distilmt import statistics as statistics
    from distilmt.corpus import Corpus as Corpus
    from distilmt.errors import ConfigError as ConfigError
    from distilmt.errors import DataError as DataError
    from distilmt.errors import ResourceError as ResourceError
    from distilmt.report import Report as Report
    from distilmt.run import Run as Run
    from distilmt.soft_labels import SoftLabels as SoftLabels
    from distilmt.translate import Translator as Translator
    from distilmt.vocab import Vocab as Vocab

__version__ = _version("distilmt")

_HOME = {
    "Corpus": "corpus",
    "ConfigError": "errors",
    "DataError": "errors",
    "ResourceError": "errors",
    "Report": "report",
    "Run": "run",
    "SoftLabels": "soft_labels",
    "Translator": "translate",
    "Vocab": "vocab",
}
_MODULES = (
    "corpus", "energy", "errors", "knn", "models", "objectives", "ops", "run", "statistics", "study", "translate", "vocab",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(_importlib.import_module(f"distilmt.{_HOME[name]}"), name)
    if name in _MODULES:
        return _importlib.import_module(f"distilmt.{name}")
    raise AttributeError(f"module 'distilmt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES} - {"TYPE_CHECKING", "Any", "annotations"})
