"""gap.py: top-1 agreement and the probability of the own mode, against hand-made numbers and a model's own logits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from conftest import lively_model
from distilmt import models
from distilmt.errors import DataError
from distilmt.quality.gap import own_mode, top1_agreement
from distilmt.translate import Translator
from distilmt.vocab import Vocab

SOURCES = ["the dog sees the house .", "", "the cat"]
TARGETS = ["the cat sees the tree .", "the dog", "the garden sees"]


def test_agreement_counts_the_positions_of_given_targets(tiny_vocab: Vocab, tmp_path: Path) -> None:
    made = {}
    for name, seed in (("one", 1), ("two", 2)):
        made[name] = lively_model(tiny_vocab, seed=seed)
        models.save(made[name], tiny_vocab, tmp_path / name)
    one, two = (Translator(tmp_path / name, compute_type="float32", threads=1) for name in made)
    same = count = 0
    for source, target in ((SOURCES[0], TARGETS[0]), (SOURCES[2], TARGETS[2])):  # the empty source has nothing to say
        ids = torch.tensor([[*tiny_vocab.encode_source([source])[0], tiny_vocab.eos_id]])
        labels = torch.tensor([[*tiny_vocab.encode_target([target])[0], tiny_vocab.eos_id]])
        with torch.no_grad():
            best = [m(input_ids=ids, labels=labels).logits[..., :-1].argmax(-1) for m in made.values()]
        same, count = same + int((best[0] == best[1]).sum()), count + labels.numel()
    assert top1_agreement(one, two, SOURCES, TARGETS) == pytest.approx(same / count)
    assert top1_agreement(one, one, SOURCES, TARGETS) == 1.0
    assert top1_agreement(one, two, [""], ["the dog"]) is None


def test_agreement_needs_one_vocabulary(tiny_vocab: Vocab, tmp_path: Path) -> None:
    other = Vocab.train(["a b c d e f g h"] * 9, 20, seed=1, model_type="bpe")
    for name, vocab in (("one", tiny_vocab), ("two", other)):
        models.save(models.create(models.parse_size("1x1:16:32:2"), vocab, dropout=0.0, seed=1), vocab, tmp_path / name)
    with pytest.raises(DataError, match="different vocabularies"):
        top1_agreement(Translator(tmp_path / "one"), Translator(tmp_path / "two"), SOURCES, TARGETS)


def test_own_mode_is_a_mean_of_probabilities() -> None:
    assert own_mode([[math.log(0.5), math.log(0.4)], [], [0.0]]) == pytest.approx((0.2 + 1) / 2)
    assert own_mode([[]]) is None
