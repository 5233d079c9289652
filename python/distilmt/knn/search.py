"""`distilmt knn search`: the neighbours of every token of a datastore, once, so that a student can learn from them.

neighbours.json   k, what was excluded, the datastore they belong to; checksums. Written last
ids.bin           int32 [tokens, k]: target tokens of the nearest entries, nearest first
distances.bin     float32 [tokens, k]: squared Euclidean distances; inf where there are fewer

A token's own entry is its nearest, at distance 0, and says the gold token: the published kNN-KD keeps it ("none"), and it is first
here whatever the index finds. Left out, by "token", or with all others of its sentence, by "sentence", the neighbours say what
the rest of the text would.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.knn.kind import PROBES, Kind, chosen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distilmt.knn.stored import StoredNeighbours

BLOCK = 4096  # tokens searched at a time


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Options of `distilmt knn search`."""

    store: str = field(metadata={"help": "the datastore's folder", "metavar": "STORE"})
    k: int = field(default=64, metadata={"help": "neighbours of a token (Yang et al. 2022: 4 to 64)"})
    exclude: Literal["none", "token", "sentence"] = field(
        default="none", metadata={"help": "leave out a token's own entry, or its whole sentence's; none: as published"}
    )
    index: Kind = field(
        default="auto",
        metadata={
            "help": "exact, or by cells: ivf, pq; auto: exact up to 200,000 tokens; what is found of the exact is printed"
        },
    )
    probes: int = field(default=PROBES, metadata={"help": "cells of ivf and pq to search"})
    threads: int | None = field(default=None, metadata={"help": "default: all CPUs this process may use"})
    out: str | None = field(default=None, metadata={"help": "folder of the neighbours [default: STORE/neighbours]"})

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 1024:
            raise ConfigError(f"k must lie in [1, 1024], got {self.k}")


def search(config: SearchConfig | None = None, **options: Any) -> StoredNeighbours:
    """Finds and saves the neighbours of every token of a datastore. An interrupted call starts over.

    Args:
        config: a SearchConfig, or its fields as keywords.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(SearchConfig, config, **options)
    import numpy as np

    from distilmt.interface import progress
    from distilmt.knn.datastore import OFFSETS, VALUES, VOCAB, Datastore
    from distilmt.knn.index import recall
    from distilmt.knn.stored import DISTANCES, HEADER, IDS, VERSION, StoredNeighbours
    from distilmt.state.storage import disk_errors, write_json
    from distilmt.text.files import file_hash

    store = Datastore(config.store, threads=config.threads, index=config.index, probes=config.probes)
    kind, found = chosen(config.index, store.tokens), 1.0
    out = Path(config.out) if config.out else store.folder / "neighbours"
    lengths = np.diff(store.offsets)
    lines = np.repeat(np.arange(store.lines), lengths)  # the line of each token
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / HEADER).unlink(missing_ok=True)
        files = [(out / name).open("wb") for name in (IDS, DISTANCES)]
    with files[0], files[1], disk_errors(out), progress.bar(store.tokens, "neighbours", "token") as bar:
        for first in range(0, store.tokens, BLOCK):
            rows = np.arange(first, min(first + BLOCK, store.tokens))
            own = {"none": 0, "token": 1, "sentence": int(lengths[lines[rows]].max())}[config.exclude]
            entries, distances = store.nearest(store.keys[rows].astype(np.float32), min(config.k + own, store.tokens))
            barred = entries == rows[:, None]
            if config.exclude == "sentence":
                barred = lines[np.maximum(entries, 0)] == lines[rows, None]
            kept = config.exclude == "none"
            entries, distances = _first(entries, distances, barred | (entries < 0), config.k - kept)
            if kept:
                entries, distances = np.column_stack([rows, entries]), np.column_stack([0 * rows, distances])
            if bool((entries[:, 0] < 0).any()):
                raise ConfigError(
                    f"exclude {config.exclude!r} leaves line {lines[rows][entries[:, 0] < 0][0] + 1} of {store.folder} without a "
                    "neighbour - take a larger text, exclude less, or search more --probes"
                )
            ids = np.where(entries < 0, 0, store.values[np.maximum(entries, 0)])
            files[0].write(ids.astype(np.int32).tobytes())
            files[1].write(distances.astype(np.float32).tobytes())
            bar.update(len(rows))
    if kind != "exact":
        found = recall(store, config.k)
        print(
            f"distilmt: index {kind}: {found:.1%} of the {config.k} exact nearest of a key are found", file=sys.stderr
        )
    facts = {
        "version": VERSION, "k": config.k, "exclude": config.exclude, "datastore": store.hash, "index": kind, "recall": found,
        **{name: store.facts[name] for name in ("tokens", "lines", "vocab_size", "vocab", "source", "target")},
    }  # fmt: skip
    for name in (VALUES, OFFSETS):  # so that the neighbours stand alone, and can prove whose they are
        shutil.copyfile(store.folder / name, out / name)
    shutil.copytree(store.folder / VOCAB, out / VOCAB, dirs_exist_ok=True)
    names = (IDS, DISTANCES, VALUES, OFFSETS)
    write_json(out / HEADER, facts | {"sha256": {name: file_hash(out / name) for name in names}})
    return StoredNeighbours.open(out)


def _first(
    entries: NDArray[np.int64], distances: NDArray[np.float32], barred: NDArray[np.bool_], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first k of each row that are not barred, in order; -1 and inf where a row has fewer."""
    import numpy as np

    order = np.argsort(barred, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(np.where(barred, -1, entries), order, 1)
    near = np.take_along_axis(np.where(barred, np.inf, distances), order, 1)
    pad = ((0, 0), (0, k - order.shape[1]))
    return np.pad(kept, pad, constant_values=-1), np.pad(near, pad, constant_values=np.inf).astype(np.float32)
