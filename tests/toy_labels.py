"""Labelling jobs with a teacher that costs nothing, many a second: for kills and faults by the hundred.

As a program it is a server: with everything imported it forks a process per command (`distilmt label` with the toy
teacher), so that a start costs milliseconds, and arms fault_shim.c in the child. `Server` is its client.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KINDS = ("write", "fsync", "rename", "open")
KILL_BEFORE, KILL_AFTER, SHORT = -2, -3, -4
SHARD_LINES, BATCH_LINES = 10, 3
SECONDS = 0.002  # a batch takes so long


class ToyTeacher:
    """Turns the words of a line around; a line's record depends on it alone."""

    def __init__(self, config: Any, threads: int | None) -> None:
        self.seconds = float(os.environ.get("TOY_SECONDS", SECONDS))
        self.soft = bool(getattr(config, "soft_labels", 0))

    def label(self, lines: Sequence[Any], targets: Sequence[str] | None = None) -> list[Any]:
        from distilmt.labels.records import Candidate, Record, Verdict

        time.sleep(self.seconds)
        records = []
        for line in lines:
            if "poison" in line.text:
                os.kill(os.getpid(), 9)
            text = " ".join(reversed(line.text.split()))
            ids = list(line.text.encode())
            verdict: Verdict = "empty_source" if line.status != "ok" else "ok"
            found = [Candidate(text, ids, -len(text) / 7, -float(len(text)), len(ids) + 1)] if verdict == "ok" else []
            found += [Candidate(f"{text} !", [*ids, 33], -len(text) / 6, -float(len(text) + 1), len(ids) + 2)] * len(
                found
            )
            soft = _soft(ids) if self.soft and found else b""
            records.append(Record(line.number, verdict, found, soft, soft if targets is not None else b""))
        return records


def _soft(ids: list[int]) -> bytes:
    """Soft labels of ids and an end symbol, the likeliest word nine tenths of each."""
    import numpy as np

    from distilmt.soft_labels import SoftLabels, encode

    whole = np.array([*ids, 0], np.int32)
    rest = np.full(len(whole), 0.1, np.float32)
    return encode(whole.tolist(), SoftLabels(whole[:, None], np.log(1 - rest)[:, None], rest, rest), 0.0)


def command(source: Path, out: Path, *more: str) -> list[str]:
    """The arguments of `distilmt label` for a toy job."""
    model = source.parent / "model"
    model.mkdir(exist_ok=True)
    if not (model / "config.json").exists():  # never rewritten: a job that runs may be hashing it
        from distilmt.vocab import Vocab

        Vocab.train([f"wort {i} und {i * 3} mehr" for i in range(99)], 40, seed=1).save(model)
        (model / "model.safetensors").write_bytes(b"weights")
        (model / "config.json").write_text('{"model_type": "marian"}')
    words = ["label", "--model", model, "--source", source, "--out", out, "--shard-lines", SHARD_LINES]
    return [*map(str, words), "--batch-lines", str(BATCH_LINES), "--lease-seconds", "1", "--threads", "1", *more]


def rich(source: Path) -> list[str]:
    """Options of a job with all the results there are."""
    return ["--n-best", "2", "--soft-labels", "2", "--target", str(source)]


def write_source(path: Path, lines: int) -> Path:
    """A text with repeated and empty lines."""
    path.write_text("".join("\n" if i % 17 == 3 else f"line {i % 7} of {i // 40} words\n" for i in range(lines)))
    return path


def shim(folder: Path) -> Path:
    """fault_shim.c, compiled."""
    built = folder / "shim.so"
    source = Path(__file__).with_name("fault_shim.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


class Server:
    """Starts toy jobs: `server.start(arguments, fault)` gives a process number, `server.wait(it)` its exit code."""

    def __init__(self, library: Path) -> None:
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self, arguments: Sequence[str], folder: Path, kind: str = "", at: int = 0, action: int = -1) -> int:
        which = KINDS.index(kind) if kind else -1
        return int(self._ask({"start": list(arguments), "fault": [str(folder), which, at, action]}))

    def wait(self, pid: int) -> int:
        """The exit code; negative for a signal."""
        return int(self._ask({"wait": pid}))

    def counts(self, arguments: Sequence[str], folder: Path) -> dict[str, int]:
        """Runs a job and tells how many calls of each kind it made."""
        return dict(zip(KINDS, self._ask({"count": list(arguments), "fault": [str(folder), -1, 0, -1]}), strict=True))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def _ask(self, message: dict[str, Any]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def _chaos(lost: float) -> None:
    """This process's clock is up to an hour off and jumps, and a share of its heartbeats is lost."""
    from distilmt.labels.lease import Lease

    dice, now, write = random.Random(), time.time, Lease._write

    def beat(lease: Lease, state: str) -> None:
        if threading.current_thread().name == "distilmt-lease" and dice.random() < lost:
            raise OSError("lost")
        write(lease, state)

    time.time = lambda: now() + dice.uniform(-3600, 3600)
    Lease._write = beat  # type: ignore[assignment,method-assign]


def _serve() -> None:
    from distilmt import cli
    from distilmt.labels import job, merge, pool, redo, teacher, worker  # noqa: F401  # all that a job imports
    from distilmt.marian.weights import weights_hash  # noqa: F401
    from distilmt.soft_labels import SoftLabelsStore, SoftLabelsWriter, batch, code  # noqa: F401
    from distilmt.vocab import Vocab  # noqa: F401

    teacher.Teacher = ToyTeacher  # type: ignore[misc,assignment]
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.fault_count.restype = ctypes.c_long
    out = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        message = json.loads(line)
        if "wait" in message:
            answer: Any = os.waitstatus_to_exitcode(os.waitpid(message["wait"], 0)[1])
        else:
            reading, writing = os.pipe()
            answer = os.fork()
            if answer == 0:
                exit_code = 1
                try:
                    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                    os.dup2(os.open(f"{message['fault'][0]}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
                    if chaos := os.environ.get("TOY_CHAOS"):
                        _chaos(float(chaos))
                    folder, kind, at, action = message["fault"]
                    library.fault_set(folder.encode(), kind, ctypes.c_long(at), action)
                    exit_code = cli.main(message.get("start") or message["count"])
                    os.write(writing, json.dumps([library.fault_count(i) for i in range(len(KINDS))]).encode())
                finally:
                    os._exit(exit_code)
            os.close(writing)
            if "count" in message:
                os.waitpid(answer, 0)
                answer = json.loads(os.read(reading, 4096))
            os.close(reading)
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    _serve()
