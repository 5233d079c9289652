"""Nearest neighbours of a text's own tokens: what an exact search costs, what cells save, and what they miss.

    python benchmarks/bench_knn.py --store STORE [--tokens 50000 100000 200000 400000] [--probes 32 64] [--k 64] [--threads 2]
        [--queries 4096]

STORE is made by `distilmt knn build`; parts of it stand for smaller texts. A search of so many queries, drawn by a fixed seed, is
timed once for each index and scaled to all tokens, since a query's work does not depend on the others; learning the cells
is timed whole. Wall seconds, and processor seconds beside them: on a busy machine these are the ones to compare. `product`
is the exact search's matrix product alone, by torch.

Writes benchmarks/results/knn.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from common import save, signature
from distilmt.knn import Datastore, index
from distilmt.knn.kind import Kind


class Part(Datastore):
    """The first tokens of a datastore, with an index that is not kept."""

    def __init__(self, folder: str, tokens: int, kind: Kind, threads: int) -> None:
        super().__init__(folder, index=kind, threads=threads)
        self.tokens, self.keys = tokens, self.keys[:tokens]
        library = index.faiss()
        library.omp_set_num_threads(threads)
        empty = library.IndexFlatL2(self.width) if kind == "exact" else index._trained(library, self, kind)
        self.index = index._filled(empty, self)


def timed(run: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    out = run()
    return out, {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def scaled(cost: dict[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in cost.items()}


def measure(store: str, tokens: int, given: argparse.Namespace) -> dict[str, Any]:
    exact = Part(store, tokens, "exact", given.threads)
    rows = np.sort(np.random.default_rng(3).permutation(tokens)[: given.queries])
    queries, keys = (np.asarray(exact.keys[part], np.float32) for part in (rows, slice(None)))
    factor = tokens / len(rows)
    blocks = [torch.from_numpy(keys[first : first + 8192]) for first in range(0, tokens, 8192)]
    _, product = timed(lambda: [torch.from_numpy(queries) @ block.T for block in blocks])
    _, search = timed(lambda: exact.nearest(queries, given.k))
    entry: dict[str, Any] = {"tokens": tokens, "product": scaled(product, factor), "exact": scaled(search, factor)}
    cells, learnt = timed(lambda: Part(store, tokens, "ivf", given.threads))
    entry["ivf"] = {"cells": cells.index.nlist, "learnt": learnt, "by_probes": {}}
    for probes in given.probes:
        cells.index.nprobe = min(probes, cells.index.nlist)
        _, search = timed(lambda: cells.nearest(queries, given.k))
        found: dict[str, Any] = {"search": scaled(search, factor), "recall": index.recall(cells, given.k)}
        entry["ivf"]["by_probes"][probes] = found
        print(
            f"{tokens:>9,} tokens: exact {entry['exact']['seconds']:7.1f} s (cpu {entry['exact']['cpu_seconds']:7.1f}, product "
            f"{entry['product']['cpu_seconds']:7.1f}), {cells.index.nlist} cells learnt {learnt['seconds']:5.1f} s (cpu "
            f"{learnt['cpu_seconds']:5.1f}), {probes} searched {found['search']['seconds']:6.1f} s (cpu "
            f"{found['search']['cpu_seconds']:6.1f}), recall {found['recall']:.3f}",
            flush=True,
        )
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    for name, default in (("tokens", [50_000, 100_000, 200_000, 400_000]), ("probes", [32, 64])):
        parser.add_argument(f"--{name}", type=int, nargs="+", default=default)
    for name, number in (("k", 64), ("threads", 2), ("queries", 4096)):
        parser.add_argument(f"--{name}", type=int, default=number)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    whole = Datastore(given.store)
    sizes = sorted({min(tokens, whole.tokens) for tokens in given.tokens})
    signed = signature("knn", f"{whole.tokens}x{whole.width}", k=given.k, faiss=index.faiss().__version__)
    results: list[dict[str, Any]] = []
    for tokens in sizes:  # kept as they come
        results.append(measure(given.store, tokens, given))
        path = save("knn", {"signature": signed, "results": results})
    print(path)


if __name__ == "__main__":
    main()
