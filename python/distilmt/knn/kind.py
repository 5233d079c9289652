"""How the nearest keys are found: exactly where that takes minutes, by cells beyond.

exact  every key is compared, in float32; 4 d bytes a key in memory. The work grows with the square of the text
ivf    keys lie in 4 sqrt(tokens) cells, of which the nearest `probes` are searched, as float16, which keys are: no distance is
       approximate, some neighbours are missed. 2 d + 8 bytes a key
pq     4,096 cells, and of each key 64 codes of a byte, so that distances are approximate too: 72 bytes a key. IVF + PQ with 32
       cells searched are published for kNN-MT (adaptive-knn-mt, knn-box)
auto   exact up to 200,000 tokens, ivf up to 10 million, pq beyond (docs/knn.md has times and recall)
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["auto", "exact", "ivf", "pq"]
EXACT_UP_TO, IVF_UP_TO = 200_000, 10_000_000
PROBES = 64


def chosen(kind: Kind, tokens: int) -> Kind:
    """The kind that `auto` stands for."""
    if kind != "auto":
        return kind
    return "exact" if tokens <= EXACT_UP_TO else "ivf" if tokens <= IVF_UP_TO else "pq"
