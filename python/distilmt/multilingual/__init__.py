"""Students of several directions with one teacher per direction; docs/multilingual.md."""

from distilmt.multilingual.command import MultilingualConfig, multilingual
from distilmt.multilingual.directions import Direction

__all__ = ["Direction", "MultilingualConfig", "multilingual"]
