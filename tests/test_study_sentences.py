"""study/sentences.py, cell.py, table.py: translations kept for tests over sentences, of any text; joules by a model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distilmt import study
from distilmt.corpus import load_corpus, write_lines
from distilmt.errors import ConfigError, DataError
from distilmt.evaluate import score
from distilmt.state.storage import write_json
from distilmt.study import cell
from distilmt.study.measure import Work
from distilmt.study.records import path_of, translations_of
from distilmt.study.sentences import by_sentences
from distilmt.text.files import file_hash
from study_data import made, record

pytest.importorskip("scipy", reason="needs the extra `study`")

GOLD = [f"the dog number {i} sees the house and the garden of tree {i * 7} ." for i in range(40)]
WORSE = [line.replace("house", "cat") if i % 2 else line for i, line in enumerate(GOLD)]


@pytest.mark.parametrize("end", [".txt.gz", ".txt"])  # the latter: folders from before they were compressed
def test_another_text_is_compared_by_the_translations_that_were_kept(tmp_path: Path, end: str) -> None:
    for name in ("src", "ref", "other"):
        write_lines(tmp_path / name, GOLD if name != "ref" else WORSE)
    test, other = ([str(tmp_path / "src"), str(tmp_path / name)] for name in ("ref", "other"))
    keys: dict[str, Any] = {
        "fixed": {"test": test, "further": {"news": {"test": other}}},
        "contrasts": [{"outcome": "bleu_news", "factor": "f0", "pairs": [["b", "a"]], "test": "sentences"}],
    }
    made_up = made(tmp_path, {("a",): [{"seconds": 1.0}], ("b",): [{"seconds": 1.0}]}, **keys)
    known = {"further": {"news": {"target": load_corpus(other).target_hash}}, "inputs": {"target": "another"}}
    (tmp_path / "made/translations/news").mkdir()
    for each in made_up.cells():
        name = f"{each.name}{end}"
        write_lines(tmp_path / "made/translations/news" / name, GOLD if each.levels["f0"] == "b" else WORSE)
        write_json(path_of(made_up, each), record(each.block, {"seconds": 1.0}, levels=each.levels, **known))
    tested = by_sentences(made_up, made_up.contrasts[0])
    assert float(tested.layout(tested.ps, 1).rows[0][3]) == pytest.approx(100 - score(WORSE, GOLD).bleu, rel=1e-3)
    assert "Planned: bleu_news by f0, over sentences" in study.report(made_up).markdown()
    write_lines(tmp_path / "other", WORSE)
    with pytest.raises(DataError, match="other: has changed since the cells ran"):
        by_sentences(made_up, made_up.contrasts[0])
    keys["contrasts"][0]["outcome"] = "chrf_olds"
    with pytest.raises(ConfigError, match="chrf_olds: name 'olds' in `further`"):
        study.read({"name": "n", "out": "o", "task": "tasks:call", "factors": {"f0": ["a", "b"]}, **keys})


def test_a_cell_keeps_its_own_translations_and_what_contrasts_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(dict, translations=WORSE, further={"news": ("its hash", GOLD), "greedy": ("another", WORSE)})
    monkeypatch.setattr(cell, "_load", lambda job, energy: work)
    monkeypatch.setattr(
        cell, "ctypes", SimpleNamespace(CDLL=lambda name: SimpleNamespace(prctl=print))
    )  # it would be us
    job = {
        "runner": os.getppid(), "folder": str(tmp_path), "cell": "001-a", "metering": {"energy": "none"}, "warm_up": 0,
        "min_seconds": 0, "keep": ["news"],
    }  # fmt: skip
    (tmp_path / "job").write_text(json.dumps(job))
    (tmp_path / "translations").mkdir()
    cell.main(str(tmp_path / "job"), str(tmp_path / "result"))
    result = json.loads((tmp_path / "result").read_text())
    own, news = translations_of(tmp_path, "001-a"), translations_of(tmp_path, "001-a", "news")
    assert (own.suffix, file_hash(own), file_hash(news)) == (
        ".gz",
        result["translations"],
        result["further"]["news"]["translations"],
    )
    assert result["further"]["news"]["target"] == "its hash" and list(result["further"]) == ["news"]
    assert sorted(path.name for path in (tmp_path / "translations").iterdir()) == ["001-a.txt.gz", "news"]


def test_joules_by_declared_watts_where_none_were_measured(tmp_path: Path) -> None:
    """Idle 2 W, full 10 W, two processors: 3 s and 4 processor seconds are 2 * 3 + 8 * 4 / 2 = 22 J."""
    outcomes = {
        "seconds": 3.0,
        "cpu_seconds": 4.0,
        "train_seconds": 100.0,
        "train_cpu_seconds": 50.0,
        "label_seconds": 1.0,
    }
    counted = outcomes | {"joules": 5.0}
    made_up = made(
        tmp_path, {("unknown",): [outcomes], ("estimated",): [counted], ("measured",): [counted]}, model_watts=[2, 10]
    )
    for each in made_up.cells():
        kind = each.levels["f0"]
        usage = record(1, {})["usage"] | {"cpus": 2, "energy_kind": kind}
        found = outcomes if kind == "unknown" else counted
        write_json(path_of(made_up, each), record(1, found, levels=each.levels, usage=usage))
    rows = {row["f0"]: row for row in study.rows(made_up)}
    assert [rows[kind]["joules_model"] for kind in ("unknown", "estimated", "measured")] == [22.0, 22.0, None]
    assert {row["train_joules_model"] for row in rows.values()} == {400.0}
    assert "label_joules_model" not in rows["unknown"]  # its processor time is unknown
    text = study.report(made_up).markdown()
    assert "**joules_model is a model and no measurement**: 2 W for every second and 8 W more for the share" in text
    assert "train_joules_model |" in text and "**Energy was not measured**" in text
    with pytest.raises(ConfigError, match="model_watts must be two watts, the lower one first"):
        study.read({"name": "n", "out": "o", "task": "tasks:call", "model_watts": [3, 2]})
