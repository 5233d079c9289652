"""Cases 37, 41 and 43: kills, disks that refuse, torn files, workers that sleep; goals R1, R3, R4 and R25."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash_campaign import RESULTS, RICH, campaign, digest
from toy_labels import KILL_AFTER, KILL_BEFORE, SHORT, Server, command, rich, shim, write_source

FAULTS = [
    ("write", errno.ENOSPC), ("write", errno.EIO), ("write", errno.EINTR), ("write", SHORT),
    ("fsync", errno.EIO), ("fsync", errno.ENOSPC), ("rename", errno.EIO), ("rename", errno.ENOSPC),
    ("open", errno.EMFILE), ("open", errno.EIO),
]  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc, for the library that makes calls go wrong")
    return shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def server(library: Path) -> Iterator[Server]:
    started = Server(library)
    yield started
    started.close()


@pytest.mark.slow
def test_case_37_kills_at_random_instants_cost_no_line(tmp_path: Path, library: Path) -> None:
    found = campaign(30, int(os.environ.get("DISTILMT_SEED", "1")), tmp_path)
    assert found.wrong == [] and sum(found.kinds.values()) == 30 and found.missed < 15


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "fault"), FAULTS)
def test_case_41_every_call_refused_once(tmp_path: Path, server: Server, kind: str, fault: int) -> None:
    """Whichever call the disk refuses: the job ends in words or goes on, and the next start gives the right bytes."""
    source, clean = write_source(tmp_path / "source.txt", 24), tmp_path / "clean"
    words = rich(source)
    count = server.counts(command(source, clean, *words), clean)[kind]
    expected = digest(clean)
    assert all(expected.values()) and count > 5
    codes = set()
    for at in range(1, count + 1):
        out = tmp_path / f"job-{at}"
        codes.add(code := server.wait(server.start(command(source, out, *words), out, kind, at, fault)))
        assert code in (0, 3, 4), f"{kind} {at}: exit code {code}"
        if code == 0:
            assert digest(out) == expected, f"{kind} {at}"
        else:
            assert server.wait(server.start(command(source, out, *words), out)) == 0, f"{kind} {at}"
            assert digest(out) == expected, f"{kind} {at}"
        shutil.rmtree(out)
    assert fault in (SHORT, errno.EINTR) or 4 in codes


@pytest.mark.slow
def test_a_redo_that_is_killed_goes_on(tmp_path: Path, server: Server) -> None:
    source, clean, done = write_source(tmp_path / "source.txt", 24), tmp_path / "clean", tmp_path / "done"
    assert server.wait(server.start(command(source, clean, *rich(source)), clean)) == 0

    def redo(out: Path) -> list[str]:
        return ["labels", "redo", str(out), "--where", "status=ok", "--max-length", "50"]

    shutil.copytree(clean, done)
    count = server.counts(redo(done), done)["fsync"]
    expected = digest(done, (*RESULTS[:2], *RICH))  # labels.json counts the generations, of which there may be two
    assert all(expected.values()) and (done / "redo" / "1").is_dir()
    for at in range(2, count + 1, 6):
        out = tmp_path / f"job-{at}"
        shutil.copytree(clean, out)
        action = KILL_BEFORE if at % 4 else KILL_AFTER
        assert server.wait(server.start(redo(out), out, "fsync", at, action)) == -signal.SIGKILL
        assert server.wait(server.start(redo(out), out)) == 0 and digest(out, (*RESULTS[:2], *RICH)) == expected, at
        shutil.rmtree(out)


def tear(path: Path, how: str, at: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:at] if how == "truncate" else data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :])


@pytest.mark.slow
@pytest.mark.parametrize("finished", [False, True])
def test_torn_files_are_recovered_or_refused(tmp_path: Path, server: Server, finished: bool) -> None:
    """Each file of a job, finished or not, truncated and zeroed at each 512 bytes: the right bytes, or a refusal in words
    that leads to them."""
    source, clean = write_source(tmp_path / "source.txt", 60), tmp_path / "clean"
    assert server.wait(server.start(command(source, clean), clean)) == 0
    expected = digest(clean, RESULTS)
    job = clean
    if not finished:
        job = tmp_path / "half"
        server.wait(server.start(command(source, job), job, "fsync", 28, -2))
        assert not (job / "labels.json").exists() and list((job / "done").iterdir())
    files = [path.relative_to(job) for path in sorted(job.rglob("*")) if path.is_file()]
    for name in files:
        size = (job / name).stat().st_size
        for how in ("truncate", "zero"):
            for at in range(0, size, 512):
                out = tmp_path / "torn"
                shutil.copytree(job, out)
                tear(out / name, how, at)
                code = server.wait(server.start(command(source, out), out))
                if code == 3:  # refused: what the message says to delete
                    assert name.name in ("manifest.json", "labels.json"), f"{name} {how} {at}"
                    (out / name).unlink()
                    code = server.wait(server.start(command(source, out), out))
                assert code == 0 and digest(out, RESULTS) == expected, f"{name} {how} {at}: exit code {code}"
                shutil.rmtree(out)


def test_case_43_a_line_that_kills_its_workers_is_quarantined(tmp_path: Path, server: Server) -> None:
    source, out = tmp_path / "source.txt", tmp_path / "job"
    source.write_text("".join("the poison one\n" if i == 14 else f"line {i}\n" for i in range(30)))
    codes = []
    while not codes or codes[-1]:
        codes.append(server.wait(server.start(command(source, out), out)))
        assert len(codes) < 12
    assert set(codes[:-1]) == {-signal.SIGKILL} and 4 <= len(codes) - 1 <= 8
    statuses = (out / "statuses.txt").read_text().split()
    assert [i for i, status in enumerate(statuses) if status != "ok"] == [14] and statuses[14] == "quarantined"
    assert (out / "pseudo.txt").read_text().split("\n")[13:16] == ["13 line", "", "15 line"]


@pytest.mark.slow
@pytest.mark.parametrize("chaos", ["", "0.3"])
def test_chaos_of_stopped_and_killed_workers(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch, chaos: str
) -> None:
    """A worker that is stopped loses its shard to another, wakes up, and does no harm; with three heartbeats in ten lost and
    clocks that are an hour off and jump, too."""
    monkeypatch.setenv("TOY_CHAOS", chaos)
    server = Server(library)
    source, clean, out = write_source(tmp_path / "source.txt", 300), tmp_path / "clean", tmp_path / "job"
    assert server.wait(server.start(command(source, clean), clean)) == 0
    expected = digest(clean, RESULTS)
    pids = [server.start(command(source, out), out) for _ in range(4)]
    time.sleep(0.05)
    os.kill(pids[0], signal.SIGSTOP)
    os.kill(pids[1], signal.SIGKILL)
    codes = [server.wait(pid) for pid in pids[1:]]
    assert codes == [-signal.SIGKILL, 0, 0] and digest(out, RESULTS) == expected
    os.kill(pids[0], signal.SIGCONT)
    assert server.wait(pids[0]) == 0 and digest(out, RESULTS) == expected
    server.close()
