"""`distilmt multilingual` end to end, small: levels, labels, groups, rehearsal, transfer, report, resume."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distilmt import models
from distilmt.cli import main
from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.marian.check import check
from distilmt.multilingual import MultilingualConfig, multilingual
from distilmt.multilingual.directions import known, read_directions
from distilmt.quickstart import write_corpus
from distilmt.train import TrainingOptions, train
from distilmt.translate import Translator
from distilmt.vocab import Vocab

TINY = TrainingOptions(updates=4, batch_tokens=512, eval_every=2, max_positions=48, threads=1, precision="float32")
LEARNT = replace(TINY, updates=110, eval_every=110, learning_rate=6e-3, warmup=20, batch_tokens=768)
SIZE = "1x1:32:64:2"


@pytest.fixture(scope="module")
def directions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    text = write_corpus(tmp_path_factory.mktemp("text"), 1, train=200, dev=8, test=8)
    back = {name: pair[::-1] for name, pair in text.items()}
    return {"de-en": dict(text, test=[text["test"]]), "en-de": dict(back, test=[back["test"]])}


@pytest.mark.parametrize("name", ["alone", "distilled"])
def test_the_examples_are_read(name: str):
    config = resolve(MultilingualConfig, Path(__file__).parents[1] / "examples" / "multilingual" / f"{name}.yaml")
    assert config.training.updates == 2600 and list(read_directions(config.directions)) == ["de-en", "fr-en"]


def run(directions: dict[str, Any], out: Path, **options: Any):
    given = {"size": SIZE, "vocab_size": 300, "training": TINY, "label_beam_size": 2, "test_beam_size": 2} | options
    return multilingual(directions=directions, out=str(out), **given)


@pytest.fixture(scope="module")
def former(directions: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of both directions, without teachers."""
    folder = tmp_path_factory.mktemp("runs") / "former"
    return run(directions, folder, training=LEARNT, spare_tags=("fr",)).models["all"]


def test_a_student_without_teachers_knows_its_directions_and_their_tags(former: Path):
    assert known(former) == (["de-en", "en-de"], True)
    assert list(Vocab.load(former).source.tags) == [">>en<<", ">>de<<", ">>fr<<"]
    heard = [
        Translator(former, target_language=tag, threads=1).score(["der Hund"], ["the dog"]) for tag in ("en", "de")
    ]
    assert heard[0][0].log_probs != heard[1][0].log_probs
    assert check(str(former), [">>en<< der Hund sieht das Haus .", "der Hund"]).ok  # every engine reads it alike
    rows = json.loads((former.parents[1] / "multilingual.json").read_text())["directions"]
    assert [(row["direction"], row["level"], row["tag"], row["teacher"]) for row in rows] == [
        ("de-en", "gold", ">>en<<", None), ("en-de", "gold", ">>de<<", None),
    ]  # fmt: skip


def test_word_level_where_vocabularies_agree_else_the_sequence(directions, former, tmp_path, capsys):
    train(
        train=directions["en-de"]["train"], dev=directions["en-de"]["dev"], size=SIZE, vocab_size=280, out=str(tmp_path / "other"),
        training=LEARNT,
    )  # fmt: skip
    ours = {
        "de-en": directions["de-en"] | {"teacher": str(former)},
        "en-de": directions["en-de"] | {"teacher": str(tmp_path / "other")},
    }
    result = run(ours, tmp_path / "run", vocab=str(former), size="1x1:16:32:2")
    said = capsys.readouterr().err
    assert "en-de: distilled on sequence level, for the vocabulary of" in said and "de-en: distilled" not in said
    assert [row["level"] for row in result.rows] == ["word", "sequence"]
    for row in result.rows:
        assert set(row["student"]) == set(row["teacher"]) == {"dev", "test"} and row["share"] == pytest.approx(
            0.5, abs=0.1
        )
    stages = {
        stage["name"]: stage["kind"]
        for stage in json.loads((tmp_path / "run" / "multilingual.json").read_text())["stages"]
    }
    assert stages["label-en-de"] == "labelling" and stages["student-all"] == "student-training"
    assert {"teacher-de-en", "teacher-en-de", "evaluate-all-de-en", "evaluate-all-en-de"} <= set(stages)
    assert "| mean |" in (tmp_path / "run" / "multilingual.md").read_text() and "| de-en | all | word |" in str(result)
    again = run(ours, tmp_path / "run", vocab=str(former), size="1x1:16:32:2")
    assert again.rows == result.rows
    with pytest.raises(ConfigError, match=r"de-en: level word: .* - write level: sequence") as error:
        run({"de-en": ours["en-de"] | {"level": "word"}}, tmp_path / "refused", vocab=str(former))
    assert "is not the student's" in str(error.value)
    with pytest.raises(ConfigError, match=r"begin with >>en<<, those of .* with none"):
        untagged = models.load(former)
        models.save(untagged, Vocab.load(former), tmp_path / "untagged")
        both = {
            "de-en": ours["de-en"] | {"teacher": str(tmp_path / "untagged"), "level": "word"},
            "en-de": directions["en-de"],
        }
        run(both, tmp_path / "untold", vocab=str(former))


def test_an_old_direction_is_rehearsed_on_what_the_former_student_says(directions, former, tmp_path, capsys):
    new, old = directions["de-en"], directions["en-de"]
    rehearsed = old | {"train": old["train"][0], "teacher": str(former)}  # source text alone
    result = run({"de-en": new, "en-de": rehearsed}, tmp_path / "kept", init_from=str(former))
    assert "forget" not in capsys.readouterr().err
    assert [row["level"] for row in result.rows] == ["gold", "word"]
    pseudo = (tmp_path / "kept" / "label-en-de").glob("*pseudo*")
    assert len(next(pseudo).read_text().splitlines()) == 200
    run({"de-en": new}, tmp_path / "lost", init_from=str(former))
    assert "knows en-de, which this training does not rehearse" in capsys.readouterr().err


def test_a_direction_into_a_new_language_widens_the_former_student_by_its_tag(directions, former, tmp_path):
    new, old = directions["de-en"], directions["en-de"]
    rehearsed = old | {"train": old["train"][0], "teacher": str(former)}
    result = run({"de-it": new, "en-de": rehearsed}, tmp_path / "new", init_from=str(former))
    first, wider = Vocab.load(former), Vocab.load(result.models["all"])
    assert wider.source.pieces == [*first.source.pieces[:-1], ">>it<<", "<pad>"]
    assert wider.encode_source([">>it<< der Hund"]) == first.encode_source([">>it<< der Hund"])  # text stays text
    both = former, tmp_path / "new" / "former"
    before, after = (models.load(folder).model.shared.weight for folder in both)
    assert before[:-1].equal(after[:-2]) and not after[-1].any() and after[-2].any()
    said = [Translator(each, target_language="de", threads=1).translate(["the dog sees the house ."]) for each in both]
    best, again = (translations[0].hypotheses[0] for translations in said)
    assert best.ids == again.ids and best.score == pytest.approx(again.score, abs=0.01)  # one id more to choose from
    assert [(row["direction"], row["level"]) for row in result.rows] == [("de-it", "gold"), ("en-de", "word")]
    with pytest.raises(ConfigError, match=r"--vocab .*: has no tag >>it<< - leave --vocab out"):
        run({"de-it": new, "en-de": old}, tmp_path / "refused", vocab=str(former))


def test_a_child_begins_with_its_parent_s_weights(directions, former, tmp_path):
    child = run(
        {"en-de": directions["en-de"] | {"teacher": str(former), "level": "sequence"}}, tmp_path / "child",
        init_from=str(former), training=replace(TINY, updates=1, eval_every=1, learning_rate=1e-9),
    ).models["all"]  # fmt: skip
    parent, own = (models.load(folder).state_dict() for folder in (former, child))
    assert all((own[name] - value).abs().max() < 1e-6 for name, value in parent.items())
    assert known(child) == (["en-de"], True)  # tagged as its parent is


def test_a_student_per_group_and_one_direction_each(directions, tmp_path):
    ours = {name: each | {"group": group} for (name, each), group in zip(directions.items(), ("a", "b"), strict=True)}
    result = run(ours, tmp_path / "run", groups="given", tags="always")
    assert list(result.models) == ["a", "b"] and known(result.models["b"]) == (["en-de"], True)
    assert Vocab.load(result.models["a"]).hash == Vocab.load(result.models["b"]).hash
    assert [row["share"] for row in result.rows] == [1.0, 1.0]


def test_into_one_language_no_tag_is_needed(directions, tmp_path):
    ours = {"de-en": directions["de-en"], "nl-en": directions["de-en"]}
    result = run(ours, tmp_path / "run")
    assert (
        known(result.models["all"]) == (["de-en", "nl-en"], False) and not Vocab.load(result.models["all"]).source.tags
    )


def test_the_command_says_what_is_wrong_with_its_file(tmp_path, capsys):
    path = tmp_path / "m.yaml"
    path.write_text("directions:\n  de-en: {train: [a.de, a.en], dev: [b.de, b.en], levl: word}\n")
    assert main(["multilingual", "--config", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "directions.de-en: levl: unknown option - did you mean 'level'?" in capsys.readouterr().err
    assert main(["multilingual", "--out", str(tmp_path / "run")]) == 2
    assert "directions: must be given" in capsys.readouterr().err
