"""FAISS over the keys of a datastore, of the kinds of kind.py, and how many neighbours it finds.

Cells and codes are learnt from at most a million keys drawn by a fixed seed, fewer cells where there are fewer keys.
"""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from distilmt.errors import ConfigError, DataError
from distilmt.knn.kind import Kind, chosen
from distilmt.state.storage import read_json, write_json

if TYPE_CHECKING:
    from distilmt.knn.datastore import Datastore

TRAINING_KEYS, CENTROIDS, CODES, BLOCK = 1_000_000, 4096, 64, 500_000
KEYS_OF_A_CELL, ROUNDS, SAMPLE = (
    39,
    10,
    1000,
)  # FAISS wants 39 keys to learn a cell; rounds of k-means; keys of a recall
PQ_FROM = 256  # one key for each value of a code


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
    library, kind = faiss(), chosen(store.kind, store.tokens)
    if kind == "exact":
        return _filled(library.IndexFlatL2(store.width), store)
    path, facts = store.folder / f"index-{kind}.faiss", store.folder / f"index-{kind}.json"
    expected = {"keys": store.hash, "width": store.width, "tokens": store.tokens, "faiss": library.__version__}
    if path.exists() and facts.exists():
        found = read_json(facts, f"delete {path} to make it again")
        if found != expected:
            wrong = ", ".join(
                f"{name} {found.get(name)!r}, expected {expected[name]!r}"
                for name in expected
                if found.get(name) != expected[name]
            )
            again = (
                f"rm {shlex.quote(str(path))}, then distilmt knn search {shlex.quote(str(store.folder))} --index {kind}"
            )
            raise DataError(f"{path}: another index ({wrong}) - to make it again: {again}, or what asked for it now")
        index = library.read_index(str(path))
    else:
        index = _filled(_trained(library, store, kind), store)
        facts.unlink(missing_ok=True)
        library.write_index(index, str(path))
        write_json(facts, expected)
    index.nprobe = min(store.probes, index.nlist)
    return index


def _trained(library: Any, store: Datastore, kind: Kind) -> Any:
    """An index that knows its cells, without keys."""
    wanted = CENTROIDS if kind == "pq" else 4 * math.isqrt(store.tokens)
    cells, cell_of = min(wanted, max(1, store.tokens // KEYS_OF_A_CELL)), library.IndexFlatL2(store.width)
    if kind == "pq":
        if store.tokens < PQ_FROM:
            raise ConfigError(
                f"{store.folder}: pq learns codes from {PQ_FROM} tokens at least, got {store.tokens} - use exact"
            )
        codes = next(c for c in range(min(CODES, store.width), 0, -1) if store.width % c == 0)
        index = library.IndexIVFPQ(cell_of, store.width, cells, codes, 8)
        wanted = TRAINING_KEYS
    else:
        index = library.IndexIVFScalarQuantizer(
            cell_of, store.width, cells, library.ScalarQuantizer.QT_fp16, library.METRIC_L2, False
        )
        wanted, index.cp.niter = min(TRAINING_KEYS, KEYS_OF_A_CELL * cells), ROUNDS
    taken = np.random.default_rng(1).permutation(store.tokens)[:wanted]
    index.train(np.asarray(store.keys[np.sort(taken)], np.float32))
    return index


def _filled(index: Any, store: Datastore) -> Any:
    for first in range(0, store.tokens, BLOCK):
        index.add(np.asarray(store.keys[first : first + BLOCK], np.float32))
    return index


def recall(store: Datastore, k: int) -> float:
    """Share of the k nearest that the index finds, of keys drawn by a fixed seed and compared with all."""
    library = faiss()
    rows = np.sort(np.random.default_rng(2).permutation(store.tokens)[:SAMPLE])
    queries = np.asarray(store.keys[rows], np.float32)
    entries: Any = np.empty((len(rows), 0), np.int64)
    distances: Any = np.empty((len(rows), 0), np.float32)
    for first in range(0, store.tokens, BLOCK):
        block = np.asarray(store.keys[first : first + BLOCK], np.float32)
        near, found = library.knn(queries, block, min(k, len(block)))
        distances, entries = np.concatenate([distances, near], 1), np.concatenate([entries, found + first], 1)
        order = np.argsort(distances, 1, kind="stable")[:, :k]
        distances, entries = (np.take_along_axis(each, order, 1) for each in (distances, entries))
    ours = store.nearest(queries, entries.shape[1])[0]
    return float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(entries, ours, strict=True)]))
