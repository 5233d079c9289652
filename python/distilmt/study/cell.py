"""One cell in a process of its own: clean memory and caches, and a crash that is its own.

    python -m distilmt.study.cell JOB RESULT

JOB is the runner's JSON; RESULT is written whole, last, with what was measured or with the error. Nobody reads what is
printed but the cell's log. The process dies with its runner, whatever kills that.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from distilmt.energy import EnergyOptions
from distilmt.errors import UserError
from distilmt.interface.config import resolve
from distilmt.state.storage import disk_errors, read_json, write_json
from distilmt.study import decode, distill, function
from distilmt.study.measure import Work, measure
from distilmt.study.records import translations_of
from distilmt.text.files import write_lines

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(job_file: str, result_file: str) -> None:
    """Does the job and writes its result, errors included."""
    job = read_json(Path(job_file), "run the study again")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != job["runner"]:  # it died before the line above
        return
    energy = resolve(EnergyOptions, job["metering"])
    try:
        work = _load(job, energy)
        measured = measure(work, warm_up=job["warm_up"], min_seconds=job["min_seconds"], energy=energy)
        result: dict[str, Any] = {"status": "done"} | measured
        if work.translations:
            result["translations"] = _keep(job, work.translations)
        for name in job["keep"]:
            target, lines = work.further[name]
            result.setdefault("further", {})[name] = {"target": target, "translations": _keep(job, lines, name)}
    except Exception as error:
        traceback.print_exc()
        said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        result = {"status": "failed", "error": said}
    write_json(Path(result_file), result)


def _keep(job: dict[str, Any], lines: list[str], further: str = "") -> str:
    path = translations_of(Path(job["folder"]), job["cell"], further)
    with disk_errors(path):
        path.parent.mkdir(exist_ok=True)
    return write_lines(path, lines)


def _load(job: dict[str, Any], energy: EnergyOptions) -> Work:
    task, settings = job["task"], job["settings"]
    if task == "decode":
        return decode.load(resolve(decode.DecodeTask, settings))
    if task == "distill":
        folder = Path(job["folder"])
        return distill.load(
            resolve(distill.DistillTask, settings), folder / "work" / job["cell"], folder / "shared", energy
        )
    return function.load(task, settings, job["block"], job["path"], job["cell"])


if __name__ == "__main__":
    main(*sys.argv[1:])
