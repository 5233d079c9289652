"""The workers of one `distilmt label`: this process itself, or processes of their own that may die one by one."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import IO, Any

from distilmt.errors import ConfigError, DataError, ResourceError, UserError
from distilmt.labels.worker import Report, Work, to_json, work
from distilmt.translator.device import of_worker

GRACE_SECONDS = 0.8  # for workers to let go of their shards when they are told to stop: for all of them together
DEATHS = 100  # of workers before a job is given up


def run_workers(job: Work, count: int, report: Report, threads: int) -> None:
    """Labels all shards that are wanted.

    Args:
        count: of workers; one works in this process.
        report: called with what each worker has done (worker.py), and `{"died": exit code}`.
        threads: of all workers together.

    Raises:
        UserError: what a worker met; the others are stopped first.
    """
    if count == 1:
        from distilmt.labels.teacher import Teacher

        teacher = Teacher(_placed(job, 0).config, threads)
        report({"ready": True})
        work(replace(job, threads=threads), teacher, report)
        return
    with _Pool(job, report) as pool:
        for i in range(count):
            pool.start(i, max(1, threads // count + (i < threads % count)))
        pool.watch()


class _Pool:
    """Worker processes and their pipes."""

    def __init__(self, job: Work, report: Report) -> None:
        self.job, self.report = job, report
        self.selector = selectors.DefaultSelector()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.deaths, self.finished = 0, False  # finished: a worker has seen that nothing is left to do

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        living = [process for process in self.processes if process.poll() is None]
        for process in living:
            _close(process.stdin)  # the sign to stop
        deadline = time.monotonic() + GRACE_SECONDS
        for process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for process in living:
            process.wait()
        for process in self.processes:
            _close(process.stdout)
        self.selector.close()

    def start(self, number: int, threads: int) -> None:
        """Starts a worker, on the device of its number. In a session of its own: Ctrl-C is for this process, which tells the
        workers."""
        job = _placed(replace(self.job, threads=threads), number)
        process = subprocess.Popen(
            [sys.executable, "-m", "distilmt.labels.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        self.processes.append(process)
        assert process.stdin is not None and process.stdout is not None
        state = {"process": process, "number": number, "threads": threads, "ready": False, "rest": b"", "error": None}
        self.selector.register(process.stdout, selectors.EVENT_READ, state)
        with contextlib.suppress(BrokenPipeError):  # dead already: said where its output ends
            process.stdin.write((to_json(job) + "\n").encode("ascii"))
            process.stdin.flush()

    def watch(self) -> None:
        """Passes reports on and puts new workers in the places of the dead, until all have ended.

        Raises: KeyboardInterrupt: every worker was told to stop.
        """
        while self.selector.get_map():
            for key, _ in self.selector.select(1.0):
                stream: Any = key.fileobj
                data = os.read(stream.fileno(), 1 << 16)
                *lines, key.data["rest"] = (key.data["rest"] + data).split(b"\n")
                for line in lines:
                    self._hear(key.data, json.loads(line))
                if not data:
                    self.selector.unregister(stream)
                    self._ended(key.data)
        if not self.finished:
            raise KeyboardInterrupt

    def _hear(self, state: dict[str, Any], message: dict[str, Any]) -> None:
        if "error" in message:
            state["error"] = message
            return
        state["ready"] = state["ready"] or "ready" in message
        self.report(message)

    def _ended(self, state: dict[str, Any]) -> None:
        code = state["process"].wait()
        if code == 0:
            self.finished = True
            return
        if error := state["error"]:
            raise next((kind for kind in (ConfigError, DataError, ResourceError) if kind.exit_code == error["exit_code"]),
                       UserError)(error["error"])  # fmt: skip
        if code in (130, -signal.SIGTERM, -signal.SIGINT):
            return  # told to stop, by somebody who means it
        died = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not state["ready"]:
            raise ResourceError(
                f"a worker died while it loaded the teacher ({died}) - see the machine's memory, use fewer --workers"
            )
        self.deaths += 1
        if self.deaths > DEATHS:
            raise ResourceError(
                f"{self.job.folder}: {self.deaths} workers died, the last of {died} - see the machine's memory and its "
                "log, then run the same command again"
            )
        print(f"distilmt: a worker died ({died}); another takes its place", file=sys.stderr)
        self.report({"died": code})
        self.start(state["number"], state["threads"])


def _placed(job: Work, number: int) -> Work:
    """The job as a worker of this number has it: on a device of its own, other ranks of torchrun on this machine counted."""
    asked = job.config.asked
    before = int(os.environ.get("LOCAL_RANK", "0")) * job.config.workers
    return replace(
        job, config=replace(job.config, asked=replace(asked, device=of_worker(asked.device, before + number)))
    )


def _close(stream: IO[bytes] | None) -> None:
    with contextlib.suppress(OSError):
        if stream is not None:
            stream.close()
