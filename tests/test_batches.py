"""The order in which training sees its pairs, and the tensors it sees."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from distilmt.errors import ConfigError
from distilmt.training.batches import IGNORED, BatchPlan, Pairs, Ragged, collate

EOS, PAD = 0, 99


def lengths(pairs: int = 500, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, 40, (pairs, 2))


def plan(**changes: object) -> BatchPlan:
    return BatchPlan(**({"lengths": lengths(), "tokens": 256, "steps": 60, "seed": 7} | changes))  # type: ignore[arg-type]


def test_an_epoch_holds_every_pair_once_and_batches_stay_within_the_budget():
    batches = plan().epoch(0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(b) * lengths()[b].max() <= 256 for b in batches)


def test_budget_holds_for_padded_lengths():
    padded = -(-lengths() // 8) * 8
    assert all(len(b) * padded[b].max() <= 256 for b in plan(pad_to=8).epoch(0))


def test_order_depends_on_seed_and_epoch_and_on_nothing_else():
    assert list(plan()) == list(plan())
    assert list(plan()) != list(plan(seed=8))
    first, second = plan().epoch(0), plan().epoch(1)
    assert [b.tolist() for b in first] != [b.tolist() for b in second]


def test_a_longer_plan_begins_with_the_shorter_one():
    assert list(islice(plan(steps=200), 60)) == list(plan())


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batches_of_one_process(world: int):
    alone = list(plan(steps=60))
    shares = [list(plan(steps=60 // world, rank=rank, world=world)) for rank in range(world)]
    assert [shares[i % world][i // world] for i in range(60)] == alone


def test_a_pair_longer_than_a_batch_is_refused():
    with pytest.raises(ConfigError, match=r"longest pair \(39 tokens\), got 32"):
        plan(tokens=32)


def test_collate_shifts_pads_and_masks():
    pairs = Pairs(Ragged.of([[5, 6], [7]]), Ragged.of([[8], [9, 10, 11]]), np.array([1, 4]), {})
    batch = {name: tensor.tolist() for name, tensor in collate(pairs, [0, 1], eos=EOS, pad=PAD).items()}
    assert batch == {
        "input_ids": [[5, 6, EOS], [7, EOS, PAD]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "decoder_input_ids": [[PAD, 8, PAD, PAD], [PAD, 9, 10, 11]],
        "labels": [[8, EOS, IGNORED, IGNORED], [9, 10, 11, EOS]],
        "lines": [1, 4],
    }


def test_collate_rounds_widths_up():
    pairs = Pairs(Ragged.of([[5, 6]]), Ragged.of([[8]]), np.array([1]), {})
    batch = collate(pairs, [0], eos=EOS, pad=PAD, pad_to=8)
    assert batch["input_ids"].shape == batch["labels"].shape == (1, 8)
