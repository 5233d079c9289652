"""Sequence-level interpolation: the hypothesis nearest the reference takes its place, in the recipe and in a whole run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import distilmt
import plain_selection as plain
from distilmt import corpus
from distilmt.distill import DistillConfig
from distilmt.distilling.recipe_options import LabelSearch
from distilmt.errors import ConfigError
from distilmt.label import read_labels
from distilmt.labels.records import USABLE, read_records
from distilmt.quickstart import write_corpus
from distilmt.recipes.seq_inter import seq_inter
from distilmt.train import TrainingOptions
from distilmt.vocab import Vocab

TINY = TrainingOptions(updates=4, batch_tokens=512, eval_every=2, max_positions=48, threads=1, precision="float32")
TEACHER = TrainingOptions(
    updates=150,
    eval_every=75,
    learning_rate=5e-3,
    warmup=20,
    batch_tokens=1024,
    max_positions=48,
    threads=1,
    precision="float32",
)


def test_seq_inter(tmp_path: Path) -> None:
    files = write_corpus(tmp_path / "text", 1, train=120, dev=8, test=8)
    run = tmp_path / "run"
    distilmt.distill(
        train=files["train"], dev=files["dev"], test=(files["test"],), out=str(run), student_size="1x1:16:32:2",
        teacher_size="1x1:32:64:2", vocab_size=300, method="seq-inter", label_beam_size=3, test_beam_size=2,
        baseline=False, training=TINY, teacher_training=TEACHER,
    )  # fmt: skip
    gold, encode = corpus.load_corpus(files["train"]), Vocab.load(run / "teacher" / "best").encode_target
    expected = []
    for record, reference in zip(read_records(run / "label"), encode(gold.targets), strict=True):
        numbers = [plain.kim_rush(candidate.ids, reference) for candidate in record.candidates]
        usable = record.verdict in USABLE
        assert len(numbers) == 3 or not usable
        expected.append(record.candidates[numbers.index(max(numbers))].text if usable else "")

    labels = read_labels(run / "label")
    pseudo = seq_inter(gold, labels, encode)
    assert pseudo.targets == expected and pseudo.sources == gold.sources
    assert sum(a != b for a, b in zip(pseudo.targets, labels.pseudo, strict=True)) > 10
    for status, verdict in zip(pseudo.statuses, labels.statuses, strict=True):
        assert status == ("ok" if verdict in USABLE else f"label_{verdict}")
    digest = hashlib.sha256("".join(line + "\n" for line in expected).encode()).hexdigest()
    assert pseudo.target_hash == digest
    stages = {
        name: json.loads((run / "stages" / f"{name}.json").read_text()) for name in ("select", "student-seq-inter-1")
    }
    assert (
        stages["select"]["kind"] == "selection"
        and (run / "select" / "selected.txt").read_text().split("\n")[:-1] == expected
    )
    made_by = {
        entry["name"]: entry.get("made_by") for entry in json.loads((run / "report.json").read_text())["systems"]
    }
    assert made_by["student seq-inter"] == ["label", "select", "student-seq-inter-1"]
    record = stages["student-seq-inter-1"]
    assert record["inputs"]["pseudo target"] == digest and record["inputs"]["recipe"] == "seq-inter"


@pytest.mark.parametrize("search", [LabelSearch(beam_size=1), LabelSearch(beam_size=5, n_best=1)])
@pytest.mark.parametrize("method", ["seq-inter", "mbr", "stacked"])
def test_among_one_hypothesis_there_is_no_choice(method: str, search: LabelSearch) -> None:
    pair = ("s", "t")
    given = {"train": pair, "dev": pair, "test": (pair,), "out": "o", "student_size": "tiny", "teacher": "t"}
    with pytest.raises(ConfigError, match=r"recipe (seq-inter|mbr): with one hypothesis .* raise --label-beam-size"):
        DistillConfig(**given, method=method, label=search)
    DistillConfig(**given, method="seq-kd", label=search)
