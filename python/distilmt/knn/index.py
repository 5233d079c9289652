"""FAISS over the keys of a datastore: exact up to a million entries, product-quantised beyond.

Flat (exact squared L2) is 4 d bytes an entry in memory. IVF + PQ takes 72: 64 codes of a byte and an id; trained on at most a
million keys drawn by a fixed seed, 4,096 centroids (fewer where there are fewer keys), 32 of them searched, as published
for kNN-MT (adaptive-knn-mt, knn-box). Its distances are approximate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distilmt.errors import ConfigError, DataError
from distilmt.storage import read_json, write_json

if TYPE_CHECKING:
    from distilmt.knn.datastore import Datastore

EXACT_UP_TO = 1_000_000
TRAINING_KEYS, CENTROIDS, CODES, PROBES, BLOCK = 1_000_000, 4096, 64, 32, 500_000


def faiss() -> Any:
    """The library. Raises: ConfigError: it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(f"nearest neighbours need FAISS ({error}) - pip install 'distilmt[knn]'") from None
    return faiss


def opened(store: Datastore) -> Any:
    """The index of a datastore, read from beside it or made and, if it took training, saved.

    Raises: DataError: the saved one belongs to other keys, or to another version of FAISS (fault case 27).
    """
    library = faiss()
    if store.tokens <= EXACT_UP_TO:
        index = library.IndexFlatL2(store.width)
        for first in range(0, store.tokens, BLOCK):
            index.add(np.asarray(store.keys[first : first + BLOCK], np.float32))
        return index
    path, facts = store.folder / "index.faiss", store.folder / "index.json"
    expected = {"keys": store.hash, "width": store.width, "tokens": store.tokens, "faiss": library.__version__}
    if path.exists() and facts.exists():
        found = read_json(facts, f"delete {path} to make it again")
        if found != expected:
            wrong = ", ".join(
                f"{name} {found.get(name)!r}, expected {expected[name]!r}"
                for name in expected
                if found.get(name) != expected[name]
            )
            raise DataError(f"{path}: another index ({wrong}) - delete it to make it again")
        return library.read_index(str(path))
    index = _product_quantised(library, store)
    facts.unlink(missing_ok=True)
    library.write_index(index, str(path))
    write_json(facts, expected)
    return index


def _product_quantised(library: Any, store: Datastore) -> Any:
    codes = next(c for c in range(min(CODES, store.width), 0, -1) if store.width % c == 0)
    centroids = min(CENTROIDS, max(1, store.tokens // 39))  # FAISS wants 39 keys for each
    index = library.IndexIVFPQ(library.IndexFlatL2(store.width), store.width, centroids, codes, 8)
    chosen = np.random.default_rng(1).permutation(store.tokens)[:TRAINING_KEYS]
    index.train(np.asarray(store.keys[np.sort(chosen)], np.float32))
    for first in range(0, store.tokens, BLOCK):
        index.add(np.asarray(store.keys[first : first + BLOCK], np.float32))
    index.nprobe = PROBES
    return index
