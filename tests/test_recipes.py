"""Recipes: what data each makes, line by line, and that any of them goes through a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distilmt
from conftest import lively_model
from distilmt import corpus, models
from distilmt.distill import DistillConfig
from distilmt.distilling.materials import Materials
from distilmt.distilling.methods import FINE_TUNING, METHODS, RECIPES, named
from distilmt.distilling.recipe_options import LabelSearch, RecipeOptions
from distilmt.errors import ConfigError
from distilmt.label import read_labels
from distilmt.labels.records import USABLE, read_records
from distilmt.objectives import parse
from distilmt.recipes import make
from distilmt.recipes.hybrid import Mixture
from distilmt.run import Run
from distilmt.train import TrainingOptions
from distilmt.training.batches import MixedPlan, encode_pairs
from distilmt.vocab import Vocab

TINY = TrainingOptions(updates=4, batch_tokens=512, eval_every=2, max_positions=128, threads=1, precision="float32")
WORDS = ["dog", "cat", "house", "tree", "garden"]
SOURCES = [f"the {a} sees the {b} ." for a in WORDS for b in WORDS]
TARGETS = [f"{a} sieht {b} ." for a in WORDS for b in WORDS]


@pytest.fixture
def made(tiny_vocab: Vocab, tmp_path: Path) -> Callable[..., Materials]:
    """made(method, **recipe options): materials of a run with the tiny teacher; a reverse teacher is at hand."""
    for name, lines in (
        ("text.en", SOURCES),
        ("text.de", TARGETS),
        ("more.en", SOURCES[:9]),
        ("more.de", TARGETS[:20]),
    ):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    for name, seed in (("teacher", 7), ("reverse", 3)):
        model = lively_model(tiny_vocab, seed=seed)
        model.final_logits_bias[0, tiny_vocab.eos_id] = 2.5  # most of its sentences end
        models.save(model, tiny_vocab, tmp_path / name)
    pair = (str(tmp_path / "text.en"), str(tmp_path / "text.de"))

    def of(method: str, folder: str = "run", **options: Any) -> Materials:
        config = DistillConfig(
            train=pair, dev=pair, test=(pair,), out=str(tmp_path / folder), student_size="1x1:32:64:4", method=method,
            teacher=str(tmp_path / "teacher"), label=LabelSearch(beam_size=3), test_beam_size=1, test_repeats=1, training=TINY,
            data=RecipeOptions(**options),
        )  # fmt: skip
        run = Run.open(config.out, {"method": method})
        text = corpus.load_corpus(pair)
        return Materials(run.__enter__(), config, text, text)

    return of


def lists(materials: Materials) -> list[list[str]]:
    return [
        [c.text for c in record.candidates] if record.verdict in USABLE else []
        for record in read_records(materials.labels().folder)
    ]


def pairs(text: Any) -> list[tuple[str, str]]:
    return [(source, target) for _, source, target in text.pairs()]


def test_every_recipe_and_method_can_be_named() -> None:
    assert {phase.recipe for method in METHODS.values() for phase in method.phases} == set(RECIPES)
    for method in METHODS.values():
        assert all(parse(phase.objective) for phase in method.phases)
        assert named(method.name) == method
    stacked = named("seq-kd/seq-inter+word-kd")
    assert [(phase.recipe, phase.rate) for phase in stacked.phases] == [("seq-kd", 1.0), ("seq-inter", FINE_TUNING)]
    assert stacked.phases[1].objective == METHODS["word-kd"].objective
    assert [phase.rate for phase in named("alone/annealing").phases] == [1.0, FINE_TUNING, 1.0]
    assert "Top1(weighted=True)" in METHODS["top1"].objective  # the analysis of the paper
    with pytest.raises(ConfigError, match="layers begins with the teacher's layers - put it first"):
        named("word-kd/layers")
    with pytest.raises(ConfigError, match="unknown method 'seq-kt' - did you mean seq-kd"):
        named("alone/seq-kt")
    with pytest.raises(ConfigError, match="joins methods of one kind"):
        named("seq-kd+mbr")


def test_the_page_names_them_all() -> None:
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
    assert not [name for name in (*METHODS, *RECIPES) if f"`{name}`" not in page]


def test_pseudo_pairs_and_those_beside_gold(made: Callable[..., Materials]) -> None:
    m = made("gold-best,gold-kd,n-best", keep=2)
    found = lists(m)
    pseudo = [(source, texts[0]) for source, texts in zip(SOURCES, found, strict=True) if texts]
    assert len(pseudo) > 10
    gold = list(zip(SOURCES, TARGETS, strict=True))
    assert pairs(make("seq-kd", m)) == pseudo
    assert pairs(make("gold-kd", m)) == gold + pseudo
    second = [(s, texts[1]) for s, texts in zip(SOURCES, found, strict=True) if len(texts) > 1 and texts[1]]
    assert pairs(make("gold-best", m)) == gold + pseudo + second
    assert pairs(make("n-best", m)) == pseudo + second
    assert m.made.count("label") >= 4  # asked for, and made once
    assert len(list((m.run.folder / "stages").glob("label*.json"))) == 1


def test_mixed_takes_each_line_from_one_side(made: Callable[..., Materials]) -> None:
    m = made("mixed", pseudo_share=0.4)
    pseudo, text = make("seq-kd", m), make("mixed", m)
    assert len(text) == 25 and text.statuses == m.text.statuses
    assert isinstance(text, corpus.Corpus) and isinstance(pseudo, corpus.Corpus)
    taken = [t == p != g for t, p, g in zip(text.targets, pseudo.targets, TARGETS, strict=True)]
    assert 4 < sum(taken) < 16
    assert all(t in (p, g) for t, p, g in zip(text.targets, pseudo.targets, TARGETS, strict=True))
    none = make("mixed", made("mixed", folder="none", pseudo_share=0.0))
    assert isinstance(none, corpus.Corpus) and none.targets == TARGETS and none.target_hash == m.text.target_hash


def test_hybrid_batches_are_of_one_kind(made: Callable[..., Materials]) -> None:
    mixture = make("hybrid", made("hybrid", pseudo_share=0.66))
    assert isinstance(mixture, Mixture) and mixture.shares == pytest.approx([0.34, 0.66])
    lengths = np.full((50, 2), 8)
    plan = MixedPlan(lengths, [(0, 25), (25, 50)], mixture.shares, tokens=40, steps=1000, seed=3)
    batches = list(plan)
    kinds = [{int(index >= 25) for index in batch} for batch in batches]
    assert all(len(kind) == 1 for kind in kinds) and batches == list(plan)
    assert Counter(kind.pop() for kind in kinds)[1] / 1000 == pytest.approx(0.66, abs=0.05)
    seen = Counter(index for batch in batches for index in batch if index >= 25)
    assert len(seen) == 25 and max(seen.values()) - min(seen.values()) <= 1  # whole epochs of its own


def test_back_translations_and_more_text(made: Callable[..., Materials], tmp_path: Path) -> None:
    reverse = str(tmp_path / "reverse")
    m = made("gold-kd-bt", reverse_teacher=reverse)
    labels = m.reverse_labels()
    columns = zip(labels.pseudo, TARGETS, labels.statuses, strict=True)
    back = [(source, target) for source, target, verdict in columns if verdict in USABLE]
    assert len(back) > 5 and pairs(make("gold-kd-bt", m))[-len(back) :] == back
    own = pairs(make("seq-kd", m))
    m.options = replace(
        m.options, monolingual_source=str(tmp_path / "more.en"), monolingual_target=str(tmp_path / "more.de")
    )
    forward = pairs(make("forward", m))
    assert forward[: len(own)] == own and {s for s, _ in forward[len(own) :]} <= set(SOURCES[:9])
    round_trip = pairs(make("round-trip", m))
    back_again = read_labels(m.run.folder / "label-back")
    usable = [text for text, verdict in zip(back_again.pseudo, back_again.statuses, strict=True) if verdict in USABLE]
    assert len(round_trip) > len(own) and len(usable) < 20
    assert {s for s, _ in round_trip[len(own) :]} <= set(usable)  # and none that was doubtful on its way back


def test_what_a_run_lacks_or_does_not_read_is_said_first(made: Callable[..., Materials], tmp_path: Path) -> None:
    for method, options, message in (
        ("gold-kd-bt", {}, "recipe gold-kd-bt needs --reverse-teacher: a model of the other direction"),
        ("forward", {}, "recipe forward needs --monolingual-source: a file of source text"),
        ("round-trip", {"reverse_teacher": "x"}, "recipe round-trip needs --monolingual-target"),
        ("word-kd", {"drop_worst": 0.1, "reverse_teacher": "x"}, "--drop-worst is of forward, gold-kd"),
        ("seq-kd", {"pseudo_share": 0.1}, "--pseudo-share is of hybrid, mixed, which this run has not"),
        ("word-kd,word-kd", {}, "names a method twice"),
    ):
        with pytest.raises(ConfigError, match=message):
            made(method, **options)
    config = made("alone", folder="alone").config
    assert [method.name for method in config.methods()] == ["alone"]
    with pytest.raises(ConfigError, match="give it, or --recipe and --objective"):
        replace(config, recipe="gold")
    with pytest.raises(
        ConfigError, match=r"a copy of the teacher's layers has its width, .* \(32, 64, 4\), got \(16, 64, 4\)"
    ):
        distilmt.distill(replace(config, method="layers", student_size="1x1:16:64:4", out=str(tmp_path / "wide")))


def test_the_worst_pairs_are_left_out(made: Callable[..., Materials], tmp_path: Path) -> None:
    m = made("seq-kd", reverse_teacher=str(tmp_path / "reverse"), drop_worst=0.2)
    kept = make("seq-kd", m)
    whole = make("seq-kd", made("seq-kd", folder="whole"))
    assert isinstance(kept, corpus.Corpus) and isinstance(whole, corpus.Corpus)
    dropped = [i for i, status in enumerate(kept.statuses) if status == "reverse_score"]
    usable = [i for i, status in enumerate(whole.statuses) if status == "ok"]
    assert len(dropped) == int(0.2 * len(usable)) > 1
    scores = m.reverse_scores(whole)
    worst = sorted(usable, key=lambda i: (scores[i], i))[: len(dropped)]
    assert dropped == sorted(worst)
    with pytest.raises(ConfigError, match="--drop-worst asks a model of the other direction"):
        RecipeOptions(drop_worst=0.1)


def test_a_subset_is_the_same_each_time(made: Callable[..., Materials]) -> None:
    one, two = (made("seq-kd", folder=name, subset=0.2).text for name in ("a", "b"))
    assert len(one) == 5 and one.sources == two.sources and one.source_hash == two.source_hash
    assert set(pairs(one)) <= set(zip(SOURCES, TARGETS, strict=True))


def test_options_of_neighbours_belong_to_a_loss_on_them(made: Callable[..., Materials]) -> None:
    assert made("knn-kd", knn_k=3, knn_exclude="token").options.knn_k == 3
    with pytest.raises(ConfigError, match="--knn-k is of KNNKD, which this run has not"):
        made("word-kd", folder="other", knn_k=3)
    with pytest.raises(ConfigError, match=r"--knn-k must lie in \[1, 1024\], got -3"):
        RecipeOptions(knn_k=-3)


def test_several_hypotheses_need_a_beam_that_has_them(made: Callable[..., Materials]) -> None:
    with pytest.raises(ConfigError, match="--keep 5 hypotheses: the lists have 3 - raise"):
        made("n-best", keep=5)


def test_phases_go_on_from_each_other(made: Callable[..., Materials], tmp_path: Path) -> None:
    config = made("stacked", folder="unused").config
    run = tmp_path / "phases"
    result = distilmt.distill(replace(config, out=str(run), method="stacked,layers,hybrid", baseline=False))
    stages = {path.stem: json.loads(path.read_text()) for path in (run / "stages").glob("student-*.json")}
    assert set(stages) == {"student-stacked-1", "student-stacked-1.1", "student-layers-1", "student-hybrid-1"}
    first, last = stages["student-stacked-1.1"], stages["student-stacked-1"]
    assert (first["inputs"]["recipe"], last["inputs"]["recipe"]) == ("seq-kd", "seq-inter")
    assert last["inputs"]["before"] == models.weights_hash(run / "student-stacked-1.1" / "best")
    assert last["inputs"]["training"]["learning_rate"] == pytest.approx(TINY.learning_rate / 10)
    assert first["inputs"]["training"]["updates"] == last["inputs"]["training"]["updates"] == 2
    assert stages["student-layers-1"]["inputs"]["layers"] == "teacher"
    entry = next(e for e in result.report.data["systems"] if e["name"] == "student stacked")
    assert entry["training"]["updates"] == TINY.updates and entry["recipe"] == "seq-kd, then seq-inter"
    assert [point["update"] for point in entry["curve"]] == [2, 4]
    assert entry["made_by"] == ["label", "student-stacked-1.1", "select", "student-stacked-1"]
    again = distilmt.distill(replace(config, out=str(run), method="stacked,layers,hybrid", baseline=False))
    assert [e["test"] for e in again.report.data["systems"]] == [e["test"] for e in result.report.data["systems"]]


def test_a_mixture_is_one_set_of_pairs(tiny_vocab: Vocab) -> None:
    from distilmt.training.batches import Pairs

    parts = [
        encode_pairs(lines, lines, list(range(1, len(lines) + 1)), tiny_vocab, max_tokens=99, what="x")
        for lines in (SOURCES[:3], SOURCES[3:5])
    ]
    whole = Pairs.mixed(parts, [0.5, 0.5])
    assert len(whole) == 5 and whole.parts == [(0, 3), (3, 5)] and whole.lines.tolist() == [1, 2, 3, 1, 2]
    for index, ids in enumerate(tiny_vocab.encode_source(SOURCES[:5])):
        assert whole.source[index].tolist() == ids
