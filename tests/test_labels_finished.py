"""A finished job, taken up again: compressed otherwise, moved aside, redone, read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from distilmt.cli import main
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.label import read_labels
from distilmt.labels.export import export
from distilmt.labels.job import move_aside
from distilmt.labels.lease import Lease
from distilmt.labels.redo import redo
from distilmt.labels.select import select
from toy_labels import ToyTeacher, command, write_source


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command of a job in tmp_path / "job", done once."""
    monkeypatch.setattr("distilmt.labels.teacher.Teacher", ToyTeacher)
    found = command(write_source(tmp_path / "source.txt", 24), tmp_path / "job")
    assert main(found) == 0
    return found


def test_another_compression_is_written_and_the_old_removed(tmp_path: Path, words: list[str]) -> None:
    out = tmp_path / "job"
    plain, statuses = (out / "pseudo.txt").read_bytes(), read_labels(out).statuses
    assert main([*words, "--compress", "gz"]) == 0
    assert gzip.decompress((out / "pseudo.txt.gz").read_bytes()) == plain and read_labels(out).statuses == statuses
    assert not (out / "pseudo.txt").exists() and not (out / "statuses.txt").exists()
    assert main(words) == 0
    assert (out / "pseudo.txt").read_bytes() == plain and not list(out.glob("*.gz"))


def test_nothing_of_the_job_is_overwritten(tmp_path: Path, words: list[str]) -> None:
    job = tmp_path / "job"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(job / "statuses.txt")
    for name in ("job/pseudo.txt", "job/pseudo.txt.gz", "job/segments/000000.0", "job/events", "source.txt", "link"):
        with pytest.raises(ConfigError, match=f"--out: .*{name} belongs to the labelling itself - choose another"):
            export(job, format="tsv", out=tmp_path / name)
        with pytest.raises(ConfigError, match="belongs to the labelling itself"):
            select(labels=str(job), out=str(tmp_path / name))
    with pytest.raises(ConfigError, match="belongs to the labelling itself"):
        export(job, format="hf", out=job)
    assert {path: path.read_bytes() for path in before} == before
    export(job, format="tsv", out=job / "labels-too.tsv")
    assert (job / "labels-too.tsv").read_text().startswith("1\tok\t")


def test_statuses_are_those_that_were_written(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "job" / "statuses.txt"
    path.write_text(path.read_text().replace("empty_source", "ok"))
    with pytest.raises(DataError, match=r"statuses.txt: 24 lines that do not hash to what labels.json promises"):
        _ = read_labels(tmp_path / "job").statuses


def test_a_job_whose_lines_are_being_redone_is_not_moved_aside(tmp_path: Path, words: list[str]) -> None:
    (leases := tmp_path / "job" / "redo" / "1" / "leases").mkdir(parents=True)
    lease = Lease.take(leases, 0, 0, 1000.0, {})
    assert lease is not None
    with pytest.raises(ResourceError, match="works in it - end it first"):
        move_aside(tmp_path / "job")
    lease.end("done")
    move_aside(tmp_path / "job")
    assert (tmp_path / "job.old-1").is_dir()


def test_redo_of_no_job(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labelling job"):
        redo(labels=str(tmp_path), where="status=ok")
