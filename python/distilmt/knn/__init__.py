"""Nearest neighbours of decoder states: the datastore of a training text, its index, and what they say.

    store = build(model="teacher", source="train.de", target="train.en", out="datastore")
    neighbours = search(store="datastore", k=64, exclude="sentence")        # for KNNKD, saved once per token
    find = store.finder(k=8, temperature=10.0, weight=0.5, model="teacher")
    Translator("teacher").translate(texts, neighbours=find)                 # kNN-MT

docs/knn.md says what lies where and what the published settings are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distilmt.knn.build import BuildConfig, build
from distilmt.knn.search import SearchConfig, search

if TYPE_CHECKING:
    from distilmt.knn.datastore import Datastore
    from distilmt.knn.stored import StoredNeighbours

__all__ = ["BuildConfig", "Datastore", "SearchConfig", "StoredNeighbours", "build", "search"]


def __getattr__(name: str) -> Any:
    """What needs numpy, when it is asked for: the command line starts without."""
    if name == "Datastore":
        from distilmt.knn.datastore import Datastore

        return Datastore
    if name == "StoredNeighbours":
        from distilmt.knn.stored import StoredNeighbours

        return StoredNeighbours
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
