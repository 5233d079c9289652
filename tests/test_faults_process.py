"""Cases 41, 44 and 46 of the faults that must be survived: disk, changed inputs, odd machines. Case 42: test_lock.py."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilmt.cli import main
from distilmt.errors import ConfigError, ResourceError
from distilmt.run import Run
from shell import distilmt

CONFIG = {"seed": 1}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_case_41_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str) -> None:
    """Every kind of refusal at every kind of call: the path is named, finished work stays, and the run goes on after."""

    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(number, os.strerror(number))

    with Run.open(tmp_path / "run", CONFIG) as run:
        with run.stage("first", {}) as stage:
            stage.finish({}, {"x": 1})
        kept = stage.path.read_bytes()
        with monkeypatch.context() as patch, pytest.raises(ResourceError) as error, run.stage("second", {}) as stage:
            (stage.folder / "out").write_text("out")
            patch.setattr(os, call, refuse)
            stage.finish({"out": stage.folder / "out"})
        assert str(tmp_path / "run") in str(error.value) and os.strerror(number) in str(error.value)
        assert " - " in str(error.value) and error.value.exit_code == 4
        assert (tmp_path / "run/stages/first.json").read_bytes() == kept
        with run.stage("second", {}) as stage:
            assert not stage.done
            stage.finish({"out": stage.folder / "out"})
    assert not list((tmp_path / "run").rglob("*.part"))


def test_case_41_a_real_refusal_of_the_kernel(tmp_path: Path) -> None:
    """A file size limit is the full disk that needs no privileges."""
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); from distilmt.cli import _fail\n"
        "from pathlib import Path; from distilmt.state.storage import write_bytes, append_event\n"
        "try: write_bytes(Path(sys.argv[1]), b'x' * 10000)\n"
        "except OSError as error: code = _fail(error)\n"
        "try:\n  for _ in range(100): append_event(sys.argv[2], 'log', text='y' * 100)\n"
        "except OSError as error: sys.exit(code + _fail(error))"
    )
    (tmp_path / "a").write_bytes(b"before")
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a", tmp_path / "log"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 8, done.stderr
    first, second = done.stderr.splitlines()
    assert first.startswith(f"distilmt: {tmp_path / 'a'}: File too large (10,000 bytes were to be written) - raise the")
    assert second.startswith(f"distilmt: {tmp_path / 'log'}: File too large")
    assert (tmp_path / "a").read_bytes() == b"before" and sorted(os.listdir(tmp_path)) == ["a", "log"]
    from distilmt.state.storage import append_event, read_events

    whole = len(read_events(tmp_path / "log"))
    append_event(tmp_path / "log", "log", text="after")
    assert len(read_events(tmp_path / "log")) == whole + 1 > 20


def test_case_44_the_command_line_shows_the_diff(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    def command(seed: int, new_run: bool = False) -> Callable[[list[str]], int]:
        def run(_: list[str]) -> int:
            with (
                Run.open(tmp_path / "run", {"seed": seed}, new_run) as run,
                run.stage("train", {"seed": seed}) as stage,
            ):
                if not stage.done:
                    stage.finish({})
            return 0

        return run

    monkeypatch.setattr("distilmt.cli._run", command(1))
    assert main([]) == 0 == main([])
    monkeypatch.setattr("distilmt.cli._run", command(2))
    assert main([]) == ConfigError.exit_code
    err = capsys.readouterr().err
    assert "--new-run" in err and err.endswith("  seed: 1 -> 2\n")
    monkeypatch.setattr("distilmt.cli._run", command(2, new_run=True))
    assert main([]) == 0
    assert (tmp_path / "run.old-1/stages/train.json").exists()


LOCALES = [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "POSIX"}, {"LC_ALL": "C.UTF-8"}]


@pytest.mark.parametrize("locale", LOCALES)
def test_case_46_any_locale_and_any_file_name(tmp_path: Path, tiny_model_folder: Path, locale: dict[str, str]) -> None:
    model = tmp_path / "übersetzer mit leerzeichen 模型"
    os.symlink(tiny_model_folder, model)
    text = "der Hund — 狗\n".encode()
    done = distilmt("translate", "--model", model, "--max-length", "6", "--scores", text=text, **locale)
    assert done.returncode == 0, done.stderr
    plain = distilmt("translate", "--model", tiny_model_folder, "--max-length", "6", "--scores", text=text)
    assert done.stdout == plain.stdout and done.stdout.count(b"\n") == 1
    missing = distilmt("evaluate", "--hypotheses", os.fsencode(tmp_path) + b"/\xff\xfe", "--references", "x", **locale)
    assert missing.returncode == 3 and b"Traceback" not in missing.stderr and b"internal" not in missing.stderr


def test_case_46_file_systems_without_room_for_a_lock(tmp_path: Path) -> None:
    for path, said in (("/proc/run", "/proc/run: "), (str(tmp_path / "file/run"), "run: ")):
        (tmp_path / "file").touch()
        with pytest.raises(ResourceError, match=said) as error:
            Run.open(path, CONFIG)
        assert " - " in str(error.value) or "No such file" in str(error.value)
