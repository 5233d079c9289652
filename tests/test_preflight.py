"""What cannot work is said before a student is trained: files, models, losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distilmt.distill import DistillConfig, distill
from distilmt.distilling.methods import METHODS
from distilmt.distilling.preflight import check
from distilmt.errors import ConfigError, DataError
from distilmt.interface.config import resolve

NEEDS: dict[str, dict[str, Any]] = {
    "forward": {"monolingual_source": "text.de"}, "gold-kd-bt": {"reverse_teacher": "teacher"},
    "round-trip": {"monolingual_target": "text.en", "reverse_teacher": "teacher"},
    "distil-adapt-distil": {"adapt_train": ("text.de", "text.en")},
}  # fmt: skip


@pytest.fixture
def given(tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a distillation of three lines."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher").symlink_to(tiny_model_folder)
    for name in ("text.de", "text.en"):
        (tmp_path / name).write_text("a\nb\nc\n")
    text = ("text.de", "text.en")
    return {
        "train": text,
        "dev": text,
        "test": (text,),
        "out": "run",
        "student_size": "1x1:32:64:4",
        "teacher": "teacher",
    }


@pytest.mark.parametrize("method", METHODS)
def test_every_method_passes_with_what_it_needs(given: dict[str, Any], method: str) -> None:
    check(resolve(DistillConfig, **given, method=method, **NEEDS.get(method, {})))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "word-kd", "own_share": 0.5}, {"method": "noisy-student"},
        {"method": "seq-kd", "teacher": None, "teacher_size": "tiny"},
        {"method": "word-kd", "teacher": ("teacher", "teacher")}, {"method": "continual", "teacher": ("teacher", "teacher")},
        {"method": "triple/f-js"}, {"method": "seq-kd+word-kd", "cache_teacher": 4},
    ],
    ids=str,
)  # fmt: skip
def test_combinations_that_work_pass(given: dict[str, Any], changes: dict[str, Any]) -> None:
    check(resolve(DistillConfig, **given | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "forward", "monolingual_source": "none.de"}, "--monolingual-source none.de: no such file"),
        ({"method": "round-trip", **NEEDS["round-trip"], "monolingual_target": "none"}, "--monolingual-target none: no such"),
        ({"method": "gold-kd-bt", "reverse_teacher": "./none"}, "none"),
        ({"soft_labels": "none", "method": "word-kd"}, "none"),
        ({"method": "distil-adapt-distil", "adapt_train": ("text.de", "none.en")}, "--adapt-train none.en: no such file"),
        ({"method": "word-kd", "own_share": 0.5, "own_objective": "KNNKD()"}, "KNNKD needs Neighbours"),
        ({"method": "layers", "teacher": None, "teacher_size": "1x1:16:64:4"}, "a copy of the teacher's layers has its width"),
        ({"method": "seq-kd+knn-kd"}, "KNNKD goes with the recipe gold, not seq-kd"),
        ({"method": "knn-kd", "teacher": ("teacher", "teacher")}, "a datastore is of one teacher, got 2"),
        ({"objective": "NLL() + WordKD() + KNNKD()"}, "WordKD cannot use Neighbours"),
        ({"objective": "Cosine()", "teacher": ("teacher", "teacher")}, "looks at the layers of a teacher model, got 2"),
        ({"objective": "SelectiveKD(by='mask')"}, "a training has no mask"),
        ({"objective": "NLL(temperature=2) + WordKD(3) + ReverseKD(4) + Top1(temperature=5) + SkewKD(0.1, 6)"}, "temperatures"),
        ({"objective": "NLL()", "own_share": 1.0, "own_objective": "NLL()"}, "learn from a teacher there"),
        ({"objective": "WordKD(iterations=3)", "own_share": 0.5, "cache_teacher": 4}, "asks for more"),
        ({"objective": "ReverseKD()", "cache_teacher": 4}, "needs the teacher's whole distribution"),
        ({"method": "layers", "student_size": "1x1:16:64:4"}, "a copy of the teacher's layers has its width"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said_before_any_work(given: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, DataError, OSError), match=said):
        distill(**given | changes)
    assert not Path("run").exists()
