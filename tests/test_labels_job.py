"""A labelling job with a real, tiny teacher: results, workers, refusals, redo, export, what others see of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import distilmt
from distilmt.cli import main
from distilmt.errors import ConfigError, DataError
from distilmt.label import LabelConfig, read_labels
from distilmt.labels.export import export
from distilmt.labels.records import read_records
from distilmt.labels.redo import RedoConfig, redo
from distilmt.labels.status import status, verify
from distilmt.soft_labels import SoftLabels, decode
from distilmt.translate import Translator
from distilmt.translator.model_options import SearchFlags
from shell import distilmt as shell

LINES = [f"the dog sees {n} ." for n in range(20)] + ["", "the dog sees 3 .", "x\x01y", "a" * 600]
OPTIONS = {"beam_size": 3, "n_best": 2, "max_length": 12, "shard_lines": 5, "batch_lines": 2, "threads": 1}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("text")
    (folder / "de").write_text("".join(f"{line}\n" for line in LINES))
    (folder / "en").write_text("".join("\n" if i == 4 else f"gold {i}\n" for i in range(len(LINES))))
    return str(folder / "de"), str(folder / "en")


@pytest.fixture(scope="module")
def job(tiny_model_folder: Path, text: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jobs") / "job"
    distilmt.label(model=str(tiny_model_folder), source=text[0], target=text[1], soft_labels=4, out=str(out), **OPTIONS)
    return out


def results(folder: Path) -> dict[str, bytes]:
    names = ("pseudo.txt", "statuses.txt", "nbest.tsv", "labels.json", "manifest.json")
    stores = [path.relative_to(folder) for name in ("soft", "forced") for path in (folder / name).rglob("*")]
    return {str(name): (folder / name).read_bytes() for name in (*names, *stores) if (folder / name).is_file()}


def test_results_are_what_the_translator_says(job: Path, tiny_model_folder: Path, text: tuple[str, str]) -> None:
    translator = Translator(tiny_model_folder, threads=1)
    expected = translator.translate(LINES[:20], beam_size=3, n_best=2, max_length=12, soft_labels=4)
    labels = read_labels(job)
    assert labels.pseudo[:20] == [each.text for each in expected] and labels.lines == 24 == sum(labels.counts.values())
    assert labels.statuses[20:] == ["empty_source", labels.statuses[3], "quarantined", "too_long"]
    assert labels.pseudo[20:] == ["", labels.pseudo[3], "", ""]
    assert labels.counts == {name: labels.statuses.count(name) for name in sorted(set(labels.statuses))}
    records = list(read_records(job))
    assert [record.line for record in records] == list(range(1, 25))
    for record, translation in zip(records, expected, strict=False):
        found = [(each.text, each.ids, each.score, each.log_prob, each.tokens) for each in record.candidates]
        assert found == [(h.text, h.ids, h.score, sum(h.log_probs), len(h.log_probs)) for h in translation.hypotheses]
        ids, soft = decode(record.soft)
        assert ids[: len(found[0][1])] == found[0][1] and len(ids) == len(soft) == found[0][4]
    assert records[22].cause == "control character U+0001"
    assert (job / "nbest.tsv").read_text().startswith(f"1\t1\t{expected[0].hypotheses[0].score:.6f}\t")
    gold = translator.vocab.encode_target(["gold 7"])[0]
    soft, store = SoftLabels.open(job / "soft"), SoftLabels.open(job / "forced")
    assert len(store) == len(soft) == 24 and store[7][0][: len(gold)] == gold and len(store[22][0]) == 0
    assert len(store[4][0]) == 0  # no gold, no soft labels of it
    assert labels.statuses[7] == "repetition" and len(soft[7][0]) == 0  # an excluded line is not learnt
    assert (
        json.loads((job / "labels.json").read_text())["repeated_lines"] == 0
    )  # line 22 is in another shard than line 4


def test_any_number_of_workers_and_shards_give_the_same_bytes(
    job: Path, tiny_model_folder: Path, text: tuple[str, str], tmp_path: Path
) -> None:
    """Four processes; and static slices one after the other, in another folder, time zone and locale (R19)."""
    words = ["label", "--model", tiny_model_folder, "--source", text[0], "--target", text[1], "--soft-labels", "4"]
    for name, value in OPTIONS.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    done = shell(*words, "--out", tmp_path / "four", "--workers", "4")
    assert done.returncode == 0, done.stderr.decode()
    assert results(tmp_path / "four") == results(job)
    out = tmp_path / "über slices"
    for index, environment in ((1, {"TZ": "Asia/Tokyo"}), (2, {"LC_ALL": "C"})):
        done = shell(*words, "--out", out, "--shard", f"{index}/2", **environment)
        assert done.returncode == 0, done.stderr.decode()
        assert (out / "labels.json").exists() == (index == 2)
        assert (b"shards of others" in done.stderr) == (index == 1)
    assert results(out) == results(job)


def test_a_finished_job_is_not_done_again_and_a_damaged_one_mends_itself(
    job: Path, tiny_model_folder: Path, text: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(job, out)
    options = {"model": str(tiny_model_folder), "source": text[0], "target": text[1], "soft_labels": 4, **OPTIONS}
    distilmt.label(**options, out=str(out))
    assert len(list((out / "leases").iterdir())) == len(list((job / "leases").iterdir())) + 1  # the merge's
    segment = out / "segments" / "000002.0"
    segment.write_bytes(segment.read_bytes()[:100])
    (out / "pseudo.txt").write_text("wrong\n")
    found = verify(out)
    assert len(found.problems) == 2 and "000002.0" in found.problems[0] and "pseudo.txt" in found.problems[1]
    assert main(["labels", "verify", str(out)]) == 3
    distilmt.label(**options, out=str(out))
    assert results(out) == results(job) and not verify(out).problems and (out / "segments" / "000002.1").exists()


def test_other_options_are_refused_and_new_run_keeps_the_old(
    job: Path, tiny_model_folder: Path, text: tuple[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(job, out)
    options = {"model": str(tiny_model_folder), "source": text[0], **OPTIONS, "n_best": 1, "out": str(out)}
    with pytest.raises(ConfigError, match=r"(?s)options.search.n_best: 2 -> 1.*options.soft_labels: 4 -> 0"):
        distilmt.label(**options)
    distilmt.label(**options, new_run=True)
    assert read_labels(out).pseudo == read_labels(job).pseudo and (tmp_path / "copy.old-1" / "nbest.tsv").exists()
    other = tmp_path / "other"
    other.write_text("one line\n")
    with pytest.raises(ConfigError, match=r"source.lines: 24 -> 1"):
        distilmt.label(**options | {"source": str(other)})
    with pytest.raises(DataError, match="24 lines"):
        distilmt.label(**options | {"target": str(other), "soft_labels": 2, "out": str(tmp_path / "new")})


def test_redo_replaces_the_lines_of_a_verdict_and_nothing_else(job: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(job, out)
    before = read_labels(job)
    chosen = max(set(before.counts) - {"empty_source", "quarantined"}, key=before.counts.__getitem__)
    after = redo(labels=str(out), where=f"status={chosen}", beam_size=6, max_length=30)
    assert after is not None and not isinstance(after, str)
    changed = [i for i in range(24) if before.pseudo[i] != after.pseudo[i]]
    assert changed and all(before.statuses[i] == chosen for i in changed)
    assert (out / "redo" / "1" / "done").is_dir() and not verify(out).problems
    assert json.loads((out / "labels.json").read_text())["redone_lines"] == [before.counts[chosen]]
    assert [record.text for record in read_records(out)] == after.pseudo
    assert f"redo 1 ({chosen}): {before.counts[chosen]} lines" in str(status(out))
    nothing = redo(labels=str(out), where="status=low_score")
    assert nothing == f"{out}: no line has the verdict low_score"
    with pytest.raises(ConfigError, match="must be status=VERDICT"):
        redo(RedoConfig(labels=str(out), where="status=bad"))


def test_exports(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "export", str(job)]) == 0
    assert capsys.readouterr().out == (job / "pseudo.txt").read_text()
    export(job, format="tsv", out=tmp_path / "all.tsv.gz")
    import gzip

    rows = [row.split("\t") for row in gzip.decompress((tmp_path / "all.tsv.gz").read_bytes()).decode().splitlines()]
    labels = read_labels(job)
    assert [row[1] for row in rows] == labels.statuses and [row[3] for row in rows] == labels.pseudo
    assert rows[22] == ["23", "quarantined", "", ""]
    with pytest.raises(ConfigError, match="needs --out"):
        export(job, format="parquet")
    with pytest.raises(ConfigError, match="must be one of text, tsv, parquet, hf"):
        export(job, format="xml")  # type: ignore[arg-type]


def test_exports_of_extras(job: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'distilmt[parquet]'")
    export(job, format="parquet", out=tmp_path / "labels.parquet")
    table = parquet.read_table(tmp_path / "labels.parquet").to_pydict()
    labels = read_labels(job)
    assert table["text"] == labels.pseudo and table["line"] == list(range(1, 25)) and table["score"][22] is None
    assert table["candidates"][0][0]["text"] == labels.pseudo[0]
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install 'distilmt[datasets]'")
    export(job, format="hf", out=tmp_path / "set")
    assert datasets.load_from_disk(str(tmp_path / "set"))["verdict"][:] == labels.statuses


@pytest.mark.parametrize("workers", ["1", "2"])
def test_case_40_ctrl_c_is_quick_and_the_job_goes_on(
    job: Path, tiny_model_folder: Path, text: tuple[str, str], tmp_path: Path, workers: str
) -> None:
    out = tmp_path / "job"
    many = tmp_path / "many"
    many.write_text("".join(f"{line} {i} ,\n" for i in range(300) for line in LINES[:20]))
    words = [sys.executable, "-m", "distilmt", "label", "--model", tiny_model_folder, "--source", many, "--out", out]
    words += [
        "--max-length",
        "100",
        "--batch-lines",
        "50",
        "--shard-lines",
        "500",
        "--threads",
        "1",
        "--workers",
        workers,
    ]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not any(path.stat().st_size > 60 for path in (out / "segments").glob("*")):
        assert process.poll() is None
        time.sleep(0.02)
    assert f"{out}: 0 of" in str(status(out)) or "works" in str(status(out))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and b"run the same command again" in said and b"Traceback" not in said
    states = {json.loads(path.read_bytes())["state"] for path in (out / "leases").iterdir()}
    assert states <= {"released", "done"}


def test_options_that_cannot_be() -> None:
    for wrong, said in (
        ({"shard": "3/2"}, "--shard must be I/N"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"target": "x"}, "give --soft-labels K too"),
        ({"lease_seconds": 0.0}, "--lease-seconds"),
        ({"too_long": "split", "search": SearchFlags(n_best=2)}, "goes with --n-best 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            LabelConfig(model="m", source="s", out="o", **wrong)  # type: ignore[arg-type]
    assert LabelConfig(model="m", source="s", out="o", shard="2/8").share() == (1, 8)


@pytest.mark.slow
def test_torchrun_gives_the_same_bytes(
    job: Path, tiny_model_folder: Path, text: tuple[str, str], tmp_path: Path
) -> None:
    """Two ranks, each a worker of the same job; no process group is made."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python", sys.executable]
    words += ["-m", "distilmt", "label", "--model", tiny_model_folder, "--source", text[0], "--target", text[1]]
    words += ["--soft-labels", "4", "--out", tmp_path / "out"]
    for name, value in OPTIONS.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(words, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    assert results(tmp_path / "out") == results(job)
