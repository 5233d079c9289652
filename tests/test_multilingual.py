"""Several directions in one training: shares, tags, the switch, and that each teacher meets its own batches alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distilmt import models
from distilmt.errors import ConfigError
from distilmt.multilingual.directions import Direction, read_directions
from distilmt.multilingual.groups import _TABLE, FAMILIES, grouped
from distilmt.multilingual.loss import Directed, DirectedLoss, blended, without_teacher
from distilmt.multilingual.sampling import shares
from distilmt.multilingual.switch import factor
from distilmt.objectives import parse
from distilmt.text.grammar import generate
from distilmt.train import TrainingOptions
from distilmt.training import trainer
from distilmt.training.batches import Pairs, collate, encode_pairs
from distilmt.vocab import Vocab
from test_trainer import events, in_parts, same_weights

TEXT = generate(40, seed=1)
GERMAN, ENGLISH = [source for source, _ in TEXT], [target for _, target in TEXT]
NAMES, TAGS = ["de-en", "en-de"], ["en", "de"]
TAN = "0.1 * NLL() + 0.9 * WordKD(temperature=0.6)"
OPTIONS = TrainingOptions(
    updates=12, batch_tokens=256, learning_rate=3e-3, warmup=2, eval_every=4, log_every=1, threads=1, max_positions=96,
    precision="float32",
)  # fmt: skip


def test_shares_by_temperature_worked_by_hand():
    assert shares([900, 100], 1.0) == pytest.approx([0.9, 0.1])
    assert shares([900, 100], 2.0) == pytest.approx([0.75, 0.25])  # square roots: 30 to 10
    assert shares([900, 100], 5.0) == pytest.approx([0.6081, 0.3919], abs=1e-4)
    assert shares([1, 1, 2], 1e9) == pytest.approx([1 / 3] * 3)
    with pytest.raises(ConfigError, match="must be positive, got 0"):
        shares([1], 0.0)


def test_the_switch_on_a_series_of_scores():
    series = [10.0, 30.9, 31.0, 31.5, 30.99, 33.0]  # the teacher has 30
    assert [factor("threshold", s, 30.0) for s in series] == [1, 1, 0, 0, 1, 0]
    assert [factor("threshold", s, 30.0, 0.0) for s in series] == [1, 0, 0, 0, 0, 0]
    assert [factor("adaptive", s, 30.0) for s in (27.9, 28.0, 29.0, 30.0, 33.0)] == [1, 1, 0.5, 0.25, 1 / 32]
    assert [factor("fixed", s, 30.0) for s in series] == [1] * 6


def test_what_the_switch_leaves_of_the_objective():
    weights = [[weight for weight, _ in blended(parse(TAN), share).terms] for share in (1.0, 0.5, 0.0)]
    assert weights == [pytest.approx(each) for each in ([0.1, 0.9], [0.55, 0.45], [1.0, 0.0])]  # (1 - f a), f a
    assert [weight for weight, _ in without_teacher(parse("2 * NLL() + WordKD()")).terms] == [1.0]
    with pytest.raises(ConfigError, match="learn nothing - add a term"):
        without_teacher(parse("WordKD()"))


def test_groups_by_family_and_by_hand():
    directions = {name: Direction(train=("a", "b"), dev=("c", "d")) for name in ("de-en", "fr-en", "sv-en", "pt_BR-en")}
    assert grouped(directions, "family") == {"germanic": ["de-en", "sv-en"], "romance": ["fr-en", "pt_BR-en"]}
    assert grouped(directions, "one") == {"all": list(directions)}
    out_of = {
        name: Direction(train=("a", "b"), dev=("c", "d"), group=name[-1]) for name in ("en-fi", "en-hu", "en-tlh")
    }
    assert grouped(out_of, "given") == {"i": ["en-fi"], "u": ["en-hu"], "h": ["en-tlh"]}
    with pytest.raises(ConfigError, match=r"directions.en-tlh: no family of 'tlh' is known - write `group:`"):
        grouped(out_of, "family")
    with pytest.raises(ConfigError, match="sources and targets both differ"):
        grouped({**directions, "en-fi": out_of["en-fi"]}, "family")
    with pytest.raises(ConfigError, match="it has no `group:`"):
        grouped(directions, "given")
    assert {FAMILIES[code] for code in ("hr", "ru", "uk")} == {"slavic"}
    assert len(FAMILIES) == sum(len(languages.split()) for languages in _TABLE.values())  # none stands twice


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("x.yaml", "directions: a mapping, as in"),
        ({"german": {}}, "directions.german: must be SOURCE-TARGET"),
        (
            {"de-en": {"train": ["a", "b"], "dev": ["c", "d"], "techer": "t"}},
            "de-en: techer: .* did you mean 'teacher'",
        ),
        ({"de-en": {"train": ["a", "b"]}}, "de-en: dev: must be given"),
        ({"de-en": {"train": ["a"], "dev": ["c", "d"]}}, "source text alone needs a teacher"),
        ({"de-en": {"train": ["a", "b"], "dev": ["c", "d"], "level": "word"}}, "level word needs a teacher"),
        ({"de-en": {"train": ["a", "b", "c"], "dev": ["c", "d"], "teacher": "t"}}, "got 3 files"),
    ],
)
def test_directions_that_cannot_be_are_refused(given: object, message: str):
    with pytest.raises(ConfigError, match=message):
        read_directions(given)


@pytest.fixture(scope="module")
def vocabulary() -> Vocab:
    return Vocab.train(GERMAN + ENGLISH, 130, tags=TAGS)


@pytest.fixture(scope="module")
def pairs(vocabulary: Vocab) -> Pairs:
    both = [(GERMAN, ENGLISH, ">>en<<"), (ENGLISH[:20], GERMAN[:20], ">>de<<")]
    parts = [
        encode_pairs(s, t, range(1, len(s) + 1), vocabulary, max_tokens=96, what="x", tag=tag) for s, t, tag in both
    ]
    return Pairs.mixed(parts, [0.5, 0.5], directed=True)


def test_tags_are_symbols_that_no_text_spells_and_stand_first(vocabulary: Vocab, pairs: Pairs, tmp_path: Path):
    assert vocabulary.source.pieces[:4] == ["</s>", "<unk>", ">>en<<", ">>de<<"] and vocabulary.source.tags == {
        ">>en<<": 2, ">>de<<": 3,
    }  # fmt: skip
    assert not {2, 3} & set(vocabulary.encode_source([">>en<< " + GERMAN[0]])[0])  # case 13
    vocabulary.save(tmp_path)
    again = Vocab.load(tmp_path)
    assert again.hash == vocabulary.hash and again.source_prefix(None, "de") == [3]
    assert [pairs.source[i][0] for i in (0, 39, 40, 59)] == [2, 2, 3, 3]
    assert pairs.source[0][1:].tolist() == vocabulary.encode_source([GERMAN[0]])[0]
    batch = collate(pairs, [40, 45], eos=0, pad=vocabulary.pad_id)
    assert int(batch["direction"]) == 1 and set(batch["input_ids"][:, 0].tolist()) == {3}
    assert "direction" not in collate(replace(pairs, directed=False), [40], eos=0, pad=vocabulary.pad_id)


def model(vocabulary: Vocab, seed: int = 1):
    return models.create(models.parse_size("1x1:16:32:2"), vocabulary, dropout=0.1, seed=seed, max_positions=96)


def fit(
    vocabulary: Vocab,
    pairs: Pairs,
    folder: Path,
    scores: tuple = (1e3, 1e3),
    watch: Callable | None = None,
    objective: str = TAN,
    **given,
):
    teachers = [model(vocabulary, 5), model(vocabulary, 6)]
    for teacher in teachers:
        if watch is not None:
            watch(teacher)
    directed = Directed(
        names=NAMES, teachers=teachers, tags=TAGS, scores=scores, kind="threshold", threshold=None,
        devs=[(GERMAN[:2], ENGLISH[:2], "en"), (ENGLISH[:2], GERMAN[:2], "de")],
    )  # fmt: skip
    student = model(vocabulary)
    result = trainer.fit(
        student, vocabulary, pairs, ((), ()), objective=parse(objective), teacher=None, folder=folder, directed=directed,
        options=replace(OPTIONS, **given),
    )  # fmt: skip
    return student, result


def test_each_teacher_meets_the_batches_of_its_own_direction_alone(vocabulary, pairs, tmp_path):
    met: list[set[int]] = []

    def watch(teacher) -> None:
        first: set[int] = set()
        met.append(first)
        teacher.model.encoder.register_forward_pre_hook(
            lambda module, args, given: first.update(given["input_ids"][:, 0].tolist()), with_kwargs=True
        )

    _, result = fit(vocabulary, pairs, tmp_path, watch=watch)
    assert met == [{2}, {3}]
    logged = [event for event in events(tmp_path) if "loss" in event]
    assert {"term_de-en:WordKD", "term_de-en:NLL"} <= set(logged[0]) | set(logged[1]) | set(logged[2]) | set(logged[3])
    for event in logged:  # one batch, of one direction, is an update here
        name = next(name for name in NAMES if f"term_{name}:NLL" in event)
        assert event["loss"] == pytest.approx(
            0.1 * event[f"term_{name}:NLL"] + 0.9 * event[f"term_{name}:WordKD"], rel=1e-4
        )
        assert event["nll"] == pytest.approx(event[f"term_{name}:nll"], rel=1e-5)
    assert result.target_tokens == sum(int(len(pairs.target[i]) + 1) for batch in plan(pairs) for i in batch)
    point = result.curve[-1]
    assert point["dev_bleu"] == pytest.approx(np.mean([point["directions"][name] for name in NAMES]))


def plan(pairs: Pairs) -> list[list[int]]:
    lengths = trainer.pair_lengths(pairs)
    return list(pairs.plan(lengths, tokens=OPTIONS.batch_tokens, steps=OPTIONS.updates, seed=OPTIONS.seed))


def test_a_direction_ahead_of_its_teacher_is_distilled_no_more(vocabulary, pairs, tmp_path):
    fit(vocabulary, pairs, tmp_path, scores=(-1.0, 1e3))  # from the first evaluation on, the first student is ahead
    found: dict[str, list[tuple[int, bool]]] = {name: [] for name in NAMES}
    for event in events(tmp_path):
        for name in NAMES:
            if f"term_{name}:NLL" in event:
                found[name].append((event["update"], f"term_{name}:WordKD" in event))
                if not found[name][-1][1]:
                    assert event["loss"] == pytest.approx(event[f"term_{name}:NLL"], rel=1e-4)
    assert {update for update, taught in found["de-en"] if taught} == {u for u, _ in found["de-en"] if u <= 4} != set()
    assert any(update > 4 for update, _ in found["de-en"]) and all(taught for _, taught in found["en-de"])


def test_an_interrupted_training_takes_the_switch_up_where_it_stood_bit_for_bit(
    vocabulary, pairs, tmp_path, monkeypatch
):
    given = {"scores": (-1.0, 1e3)}
    whole, result = fit(vocabulary, pairs, tmp_path / "whole", **given)
    monkeypatch.setattr("test_trainer.fit", fit)
    assert same_weights(whole, in_parts(vocabulary, pairs, tmp_path / "parts", monkeypatch, **given))
    assert (
        json.loads((tmp_path / "whole" / "checkpoint-12" / "trainer_state.json").read_text())["best_metric"] is not None
    )
    assert result.updates == 12


def test_tokens_are_selected_within_a_batch(vocabulary, pairs, tmp_path):
    fit(vocabulary, pairs, tmp_path, objective="NLL() + SelectiveKD(0.5)", updates=4)
    for event in (event for event in events(tmp_path) if "loss" in event):
        assert len(event["gates"]) == 1 and not any("gate" in name for name in event if name != "gates")
        assert [0.4 < value < 0.7 for name, value in event.items() if name.endswith(":selected")] == [True]


def test_a_memory_for_several_directions_is_refused(vocabulary):
    objective = parse("NLL() + SelectiveKD(0.3, level='global', queue_size=300)")
    with pytest.raises(ConfigError, match="one memory for several directions"):
        DirectedLoss(model(vocabulary), objective, NAMES, [model(vocabulary), None])


def test_what_layers_learn_beside_the_student_is_each_direction_s_own(vocabulary):
    objective = parse("NLL() + LayerCombination()")
    torch.manual_seed(1)
    loss = DirectedLoss(model(vocabulary), objective, NAMES, [model(vocabulary, 5), model(vocabulary, 6)])
    names = [name for name, _ in loss.beside.named_parameters()]
    assert {name.split(".")[0] for name in names} in ({"0", "1"}, set())
    assert {id(parameter) for parameter in loss.beside.parameters()} <= {
        id(parameter) for parameter in loss.parameters()
    }
