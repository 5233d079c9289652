"""An objective of the student's own words beside one without a teacher (ImitKD), through `train` and `distill`; models begun as
copies of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import lively_model
from distilmt import corpus, models
from distilmt.distill import DistillConfig
from distilmt.distilling import students
from distilmt.distilling.materials import Materials
from distilmt.distilling.methods import ALONE, PLAIN, Method
from distilmt.errors import ConfigError, DataError
from distilmt.run import Run
from distilmt.train import TrainingOptions, train
from distilmt.training.own_targets import OwnTargets
from distilmt.vocab import Vocab

LINES = [f"the {n} sees the {m} ." for n in ("dog", "cat", "tree") for m in ("house", "river", "dog")]
TINY = TrainingOptions(updates=4, batch_tokens=64, eval_every=2, log_every=1, threads=1, precision="float32")


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "text").write_text("\n".join(LINES) + "\n")
    text = (str(tmp_path / "text"),) * 2
    return {"train": text, "dev": text, "out": str(tmp_path / "model"), "size": "1x1:32:64:4", "training": TINY}


def test_own_words_have_a_teacher_where_the_text_has_none(tiny_model_folder: Path, given: dict[str, Any]) -> None:
    own = OwnTargets(share=0.5, objective="WordKD() + SelectiveKD()")
    with pytest.raises(ConfigError, match=r"objective 'WordKD\(\) \+ SelectiveKD\(\)' looks at a teacher"):
        train(**given, objective="NLL()", own=own)
    train(**given, objective="NLL()", own=own, teacher=str(tiny_model_folder))
    events = [json.loads(line) for line in Path(given["out"] + ".training", "events.jsonl").read_text().splitlines()]
    terms = {name for event in events for name in event if name.startswith("term_")}
    assert {"term_NLL", "term_own_WordKD"} <= terms and not terms & {"term_WordKD", "term_own_NLL", "term_own_nll"}
    assert "term_own_gate" not in terms and any(event.get("gates") for event in events)


def test_a_model_is_gone_on_with_in_its_own_vocabulary(
    tiny_vocab: Vocab, tiny_model_folder: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    other = Vocab.train([line.upper() for line in LINES] + [f"{i} Uhr {i * 7}" for i in range(99)], 40, seed=1)
    models.save(lively_model(other, "1x1:32:64:4"), other, tmp_path / "other")
    same = Vocab.train([line.lower()[::-1] for line in LINES] + [f"{i} rhU {i * 7}" for i in range(99)], 40, seed=1)
    models.save(lively_model(same, "1x1:32:64:4"), same, tmp_path / "same")
    assert other.size == same.size
    with pytest.raises(DataError, match=r"vocabulary: student and first model .* have different ones"):
        train(**given, objective="NLL()", init_from=str(tmp_path / "other"), vocab=str(tmp_path / "same"))
    swish = models.create(models.parse_size("2x2:32:64:4"), tiny_vocab, max_positions=128, activation="swish")
    models.save(swish, tiny_vocab, tmp_path / "swish")
    train(**given, objective="NLL()", init_from=str(tmp_path / "swish"))
    assert models.load(given["out"]).config.activation_function == "swish"


@pytest.mark.parametrize("alone", [True, False])
def test_a_student_of_a_run_has_its_teacher_and_a_copy_its_activation(
    alone: bool, given: dict[str, Any], tiny_vocab: Vocab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swish = models.create(models.parse_size("2x2:32:64:4"), tiny_vocab, max_positions=128, activation="swish")
    models.save(swish, tiny_vocab, tmp_path / "teacher")
    own, seen, real = OwnTargets(share=0.5, objective="WordKD()"), [], students.fit_text

    def fit_text(student: Any, *rest: Any, **more: Any) -> Any:
        seen.append((student.config.activation_function, rest[4] is not None, rest[-1]))
        return real(student, *rest, **more)

    monkeypatch.setattr(students, "fit_text", fit_text)
    config = DistillConfig(
        train=given["train"], dev=given["dev"], test=(given["dev"],), out=str(tmp_path / "run"), student_size="1x1:32:64:4",
        teacher=str(tmp_path / "teacher"), method="alone", training=TINY, own=own,
    )  # fmt: skip
    text = corpus.load_corpus(given["train"])
    method = ALONE if alone else Method("copy", "gold", PLAIN, "a copy of the teacher", teacher_layers=True)
    with Run.open(config.out, {}) as run:
        students.train_student("one", method, 1, Materials(run, config, text, text), run)
    inputs = json.loads((tmp_path / "run" / "stages" / "student-one.json").read_text())["inputs"]
    assert seen == [("relu", False, None) if alone else ("swish", True, own)]
    assert ("teacher" in inputs) != alone and ("own" in inputs) != alone
