"""Knowledge distillation for machine translation: every method, a fast native teacher, and the bill."""

from __future__ import annotations

from importlib.metadata import version as _version

__version__ = _version("distilmt")
