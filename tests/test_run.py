"""run.py, stage.py, storage.py: done once, remembered by inputs, durable, and the cost added up."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy
import pytest

from distilmt import Report
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.run import Run, append_event, hash_of, read_events, versions
from distilmt.state.storage import read_json, write_bytes, write_json

CONFIG = {"seed": 1, "training": {"learning_rate": 1e-3}}
INPUTS = {"source": "abc", "training": {"learning_rate": 1e-3, "seed": 1}, "pair": ("a", "b")}


def work(run: Run, inputs: dict[str, object] = INPUTS, text: str = "hallo\n") -> tuple[bool, dict[str, object]]:
    """A stage as the package writes them; returns whether it was done before, and its facts."""
    with run.stage("label", inputs) as stage:
        before = stage.done
        if not stage.done:
            (stage.folder / "model").mkdir(exist_ok=True)
            (stage.folder / "model" / "a.json").write_text("{}")
            (stage.folder / "out.txt").write_text(text)
            stage.finish(
                {"text": stage.folder / "out.txt", "model": stage.folder / "model"}, {"lines": 1, "bleu": math.nan}
            )
        assert stage.outputs["text"].read_text() == text
        assert set(stage.hashes) == {"text", "model"}
        return before, stage.facts


def test_a_stage_is_done_once(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        before, facts = work(run)
        assert not before
        hashes = json.loads((tmp_path / "run/stages/label.json").read_text())["outputs"]
    with Run.open(tmp_path / "run", CONFIG) as run:
        assert work(run) == (True, {"lines": 1, "bleu": None}) == (True, facts)
        with run.stage("label", INPUTS) as stage:
            stage.verify()
            assert stage.hashes == {name: entry["sha256"] for name, entry in hashes.items()}
            assert stage.usage.seconds > 0
        (record,) = run.stages()
    assert (record["name"], record["status"], record["attempts"]) == ("label", "done", 1)
    assert record["joules"] is None or record["joules"] > 0
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    assert manifest["config"] == CONFIG and manifest["config_hash"] == hash_of(CONFIG)
    assert len(manifest["commands"]) == 2 and manifest["commands"][0]["versions"] == versions()
    assert {"python", "distilmt", "torch", "transformers"} <= set(versions())
    assert not (tmp_path / "run/lock").exists()


def test_case_44_changed_inputs_are_refused_with_a_diff(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        work(run)
    changed = {"source": "abd", "training": {"learning_rate": 3e-4, "seed": 1}, "pair": ("a", "b"), "new": 2}
    before = (tmp_path / "run/stages/label.json").read_bytes()
    with Run.open(tmp_path / "run", CONFIG) as run, pytest.raises(ConfigError) as error:
        work(run, changed)
    assert str(error.value).splitlines()[0].endswith("start over with --new-run (the old run is kept):")
    assert str(error.value).splitlines()[1:] == [
        '  source: "abc" -> "abd"',
        "  training.learning_rate: 0.001 -> 0.0003",
        "  new: (absent) -> 2",
    ]
    assert (tmp_path / "run/stages/label.json").read_bytes() == before


def test_case_44_a_stage_half_done_is_refused_as_well(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        with pytest.raises(KeyboardInterrupt), run.stage("train", {"seed": 1}):
            raise KeyboardInterrupt
        with pytest.raises(ConfigError, match=r"seed: 1 -> 2"), run.stage("train", {"seed": 2}):
            pass


def test_new_run_moves_the_old_one_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("eins\n", "zwei\n", "drei\n"):
        with Run.open(tmp_path / "run", CONFIG, new_run=True) as run:
            assert not work(run, text=text)[0]
    kept = [(tmp_path / f"run{suffix}/label/out.txt").read_text() for suffix in (".old-1", ".old-2", "")]
    assert kept == ["eins\n", "zwei\n", "drei\n"]
    assert not list(tmp_path.glob("*/lock"))
    assert "the old run is kept in" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for new_run in (False, True):
        with pytest.raises(ConfigError, match=r"holds 'thesis.tex' and is no run folder - choose another --out"):
            Run.open(tmp_path, CONFIG, new_run=new_run)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_cost_of_interrupted_attempts_is_kept(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        for error in (KeyboardInterrupt, ValueError):
            with pytest.raises(error), run.stage("label", INPUTS) as stage:
                sum(range(100_000))
                raise error
        assert run.stages()[0]["status"] == "failed"
        work(run)
        with run.stage("label", INPUTS) as stage:
            attempts = stage.record["attempts"]
    assert [attempt["ended"] for attempt in attempts] == ["interrupted", "failed", "finished"]
    assert stage.usage.seconds == pytest.approx(sum(attempt["seconds"] for attempt in attempts))
    assert stage.usage.peak_rss_bytes == max(attempt["peak_rss_bytes"] for attempt in attempts)
    if stage.usage.joules is not None:
        assert stage.usage.joules == pytest.approx(sum(attempt["joules"] for attempt in attempts))


def test_energy_of_attempts_is_a_sum_or_unknown() -> None:
    from distilmt.state.stage import total

    known = {"seconds": 1.0, "cpu_seconds": 2.0, "peak_rss_bytes": 5, "joules": 3.0, "energy_method": "RAPL"}
    known |= {
        "energy_coverage": ["RAPL package-0"],
        "energy_missing": [],
        "peak_rss_method": "VmHWM",
        "ended": "finished",
    }
    killed = known | {"joules": None, "energy_method": "not measured", "energy_coverage": [], "energy_missing": ["why"]}
    both = total([known, known])
    assert (both.joules, both.energy_method, both.energy_coverage) == (6.0, "RAPL", ["RAPL package-0"])
    hole = total([known, killed])
    assert (hole.seconds, hole.joules, hole.energy_method, hole.energy_coverage) == (2.0, None, "not measured", [])
    assert hole.energy_missing == ["why"]
    assert total([]).joules is None


def test_a_run_stands_where_a_path_does(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        assert Path(run) == tmp_path / "run"
        with pytest.raises(DataError, match="no report here"):
            Report(run)


def test_a_stage_must_be_finished(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        with pytest.raises(RuntimeError, match=r"stage 'x' ended without finish"), run.stage("x", {}):
            pass
        with run.stage("x", {}) as stage:
            assert not stage.done
            stage.finish({})


@pytest.mark.parametrize("name", ["student-gold: 0.5 * NLL()-1", "../../x", ".hidden", "a" * 300])
def test_any_stage_name_has_a_folder_inside_the_run(tmp_path: Path, name: str) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        with run.stage(name, {}) as stage:
            assert stage.folder.is_dir() and stage.folder.parent == tmp_path / "run"
            stage.finish({})
        assert run.stages()[0]["name"] == name


def test_outputs_are_checked_when_a_run_is_opened_again(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        work(run)
    out = tmp_path / "run/label/out.txt"
    with Run.open(tmp_path / "run", CONFIG) as run:
        out.write_text("hillo\n")  # the same size: only the hash knows
        with (
            run.stage("label", INPUTS) as stage,
            pytest.raises(DataError, match=r"out\.txt/?\.?: output 'text'.*has changed"),
        ):
            stage.verify()
        out.write_text("hallo welt\n")
        with (
            pytest.raises(DataError, match=r"'text' of stage 'label' has 11 bytes, recorded were 6"),
            run.stage("label", INPUTS),
        ):
            pass
        out.unlink()
        with (
            pytest.raises(DataError, match="is missing, recorded were 6 bytes - restore it"),
            run.stage("label", INPUTS),
        ):
            pass


RECORD = {"stage": "label", "status": "running", "inputs": {}}
HALF = [json.dumps(RECORD | {"attempts": each}) for each in ([], [{}], "x", [{"began": 1.0, "ended": None}])]
HALF.append(json.dumps(RECORD | {"status": "done", "outputs": [], "facts": {}}))


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"stage": "label"}', "\x00" * 100, *HALF])
def test_damaged_records_are_refused(tmp_path: Path, damage: str) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        work(run)
    (tmp_path / "run/stages/label.json").write_text(damage)
    with Run.open(tmp_path / "run", CONFIG) as run, pytest.raises(DataError, match=r"label\.json: damaged.*--new-run"):
        work(run)
    if "stage" not in damage:
        (tmp_path / "run/run.json").write_text(damage)
        with pytest.raises(DataError, match=r"run\.json: damaged.*--new-run"):
            Run.open(tmp_path / "run", CONFIG)
        assert not (tmp_path / "run/lock").exists()


def test_hash_of_is_canonical() -> None:
    assert hash_of({"a": 1, "b": (1, 2.5), "ü": Path("x")}) == hash_of({"ü": "x", "b": [1, 2.5], "a": numpy.int64(1)})
    assert hash_of({"a": 1}) != hash_of({"a": 1.5}) != hash_of({"a": "1"})
    assert hash_of({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256 of "{}"


def test_events(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    append_event(log, "log", update=1, loss=numpy.float32(0.5), path=tmp_path)
    append_event(log, "log", durable=True, update=2, loss=math.inf)
    with log.open("ab") as stream:
        stream.write(b'{"event": "torn", "pad": "' + b"x" * 9000)  # killed while writing
    assert [event["loss"] for event in read_events(log)] == [0.5, None]
    append_event(log, "log", update=3, loss=1.0)
    events = read_events(log)
    assert [(event["event"], event["update"]) for event in events] == [("log", 1), ("log", 2), ("log", 3)]
    assert all(event["time"] > 1e9 for event in events)
    log.write_bytes(b"{}\nnonsense\n{}\n")
    with pytest.raises(DataError, match=r"events\.jsonl:2: damaged event"):
        read_events(log)


def test_written_files_are_whole_and_leave_no_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": (1, math.nan), "p": Path("x")})
    assert read_json(path, "") == {"a": [1, None], "p": "x"}
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
            with pytest.raises(
                ResourceError, match=r"a\.json: Input/output error \(3 bytes were to be written\) - the disk"
            ):
                write_bytes(path, b"new")
        assert read_json(path, "") == {"a": [1, None], "p": "x"}
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_an_output_that_is_missing_ends_the_attempt_as_failed(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run, pytest.raises(ResourceError), run.stage("label", INPUTS) as stage:
        stage.finish({"text": stage.folder / "nothing.txt"})
    record = read_json(tmp_path / "run/stages/label.json", "")
    assert (record["status"], record["attempts"][0]["ended"]) == ("failed", "failed")


def test_an_old_stage_gets_its_kind_when_it_is_opened(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", CONFIG) as run:
        with pytest.raises(KeyboardInterrupt), run.stage("label", INPUTS):
            raise KeyboardInterrupt
        with run.stage("label", INPUTS, "labelling") as stage:
            stage.finish({})
        assert run.stages()[0]["kind"] == "labelling"
