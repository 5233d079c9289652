"""Soft labels: a teacher's distribution at each token, in memory, as the bytes of a sentence, and as a folder of a whole text.

store = SoftLabels.open("soft")         # len(store), store[i] -> (target ids, SoftLabels), store.hash
blob = encode(ids, soft_labels, floor)  # one sentence; decode(blob) -> (ids, SoftLabels)
"""

from __future__ import annotations

from distilmt.soft_labels.batch import SoftLabels as SoftLabels
from distilmt.soft_labels.code import decode as decode
from distilmt.soft_labels.code import decode_states as decode_states
from distilmt.soft_labels.code import encode as encode
from distilmt.soft_labels.code import encode_states as encode_states
from distilmt.soft_labels.store import SoftLabelsStore as SoftLabelsStore
from distilmt.soft_labels.writer import SoftLabelsWriter as SoftLabelsWriter
