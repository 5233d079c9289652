"""Kills labelling jobs of three workers, at random times and at the n-th write, fsync, rename or open, lets three others go on, and
compares the bytes of the results with those of an uninterrupted job.

    python tests/crash_campaign.py --kills 200 --report docs/results/crash-campaign.md
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from toy_labels import KILL_AFTER, KILL_BEFORE, KINDS, Server, command, rich, shim, write_source

LINES, WORKERS = 120, 3
RESULTS = ("pseudo.txt", "statuses.txt", "labels.json", "manifest.json")
RICH = (
    "nbest.tsv",
    *(
        f"{folder}/{name}"
        for folder in ("soft", "forced")
        for name in ("soft_labels.json", "sentences.bin", "index.bin")
    ),
)


@dataclass
class Campaign:
    """What happened. kinds: kills by how they were aimed; missed: jobs that had ended before the blow; wrong: jobs whose
    results were others than the uninterrupted ones, each with how it was killed."""

    kinds: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    wrong: list[str] = field(default_factory=list)


def digest(folder: Path, names: tuple[str, ...] = (*RESULTS, *RICH)) -> dict[str, str]:
    """SHA-256 of each result; "" for one that is missing."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() if (folder / name).exists() else ""
        for name in names
    }


def campaign(kills: int, seed: int, folder: Path) -> Campaign:
    """Kills `kills` jobs, one after the other, each once or twice."""
    random_ = random.Random(seed)
    found = Campaign()
    source = write_source(folder / "source.txt", LINES)
    words = rich(source)
    server = Server(shim(folder))
    try:
        clean = folder / "clean"
        counts = server.counts(command(source, clean, *words), clean)
        expected = digest(clean)
        began = time.perf_counter()
        pids = [server.start(command(source, folder / "timed", *words), folder / "timed") for _ in range(WORKERS)]
        codes = [server.wait(pid) for pid in pids]
        duration = time.perf_counter() - began
        if any(codes) or digest(folder / "timed") != expected or not all(expected.values()):
            found.wrong.append(f"three workers, no kill: exit codes {codes}")
        for number in range(kills):
            out = folder / f"job-{number}"
            how = random_.choice(("time", *KINDS))
            said = _killed(server, command(source, out, *words), out, how, counts, duration, random_, found)
            for _ in range(2):  # what is left over is done by others
                pids = [server.start(command(source, out, *words), out) for _ in range(WORKERS)]
                codes = [server.wait(pid) for pid in pids]
                if not any(codes):
                    break
            found.kinds[how] += 1
            if any(codes) or digest(out) != expected:
                words = out.with_name(f"{out.name}.log").read_text(errors="replace").splitlines()
                found.wrong.append(f"{said}: exit codes {codes}: {' / '.join(w for w in words if 'distilmt:' in w)}")
    finally:
        server.close()
    return found


def _killed(
    server: Server, arguments: list[str], out: Path, how: str, counts: dict[str, int], duration: float,
    random_: random.Random, found: Campaign,
) -> str:  # fmt: skip
    """Starts three workers and kills one or more of them; says how."""
    if how == "time":
        pids = [server.start(arguments, out) for _ in range(WORKERS)]
        after, victims = random_.uniform(0, duration), random_.sample(pids, random_.randint(1, WORKERS))
        time.sleep(after)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        said = f"{len(victims)} killed after {after:.4f} s"
    else:
        at, action = random_.randint(1, max(1, counts[how] // 2)), random_.choice((KILL_BEFORE, KILL_AFTER))
        pids = [server.start(arguments, out, how, at, action)]
        pids += [server.start(arguments, out) for _ in range(WORKERS - 1)]
        said = f"killed {'before' if action == KILL_BEFORE else 'after'} {how} number {at}"
    found.missed += all(server.wait(pid) == 0 for pid in pids)
    return said


def main() -> None:
    """Runs a campaign and writes its report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(options.kills, options.seed, Path(folder))
    kinds = ", ".join(f"{count} by {kind}" for kind, count in sorted(found.kinds.items()))
    text = (
        f"# Crash campaign\n\n`python tests/crash_campaign.py --kills {options.kills} --seed {options.seed}`, "
        f"{platform.python_implementation()} {platform.python_version()}, {time.perf_counter() - began:.0f} s.\n\n"
        f"{options.kills} jobs of {LINES} lines, {WORKERS} workers each, were struck by SIGKILL ({kinds}; in {found.missed} of "
        f"them every worker had ended before its blow), then continued by {WORKERS} others. "
        f"**{options.kills - len(found.wrong)} of {options.kills} gave the bytes of the uninterrupted job** "
        f"({', '.join((*RESULTS, *RICH))}).\n" + "".join(f"- wrong: {each}\n" for each in found.wrong)
    )
    print(text)
    if options.report:
        options.report.write_text(text)
    raise SystemExit(bool(found.wrong))


if __name__ == "__main__":
    main()
