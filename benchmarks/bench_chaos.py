"""How much longer a labelling job takes among faults: four workers on a toy model that sleeps for each batch.

One worker at a time is stopped for two seconds (twice its lease), or killed and replaced; three heartbeats in ten are lost, and
every clock is up to an hour off and jumps.

    python benchmarks/bench_chaos.py --rounds 3

Prints the time among faults by the time without, in turns; results must be the same bytes. Writes benchmarks/results/chaos.json.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from common import save, signature
from crash_campaign import RESULTS, digest
from toy_labels import Server, command, shim, write_source

WORKERS, EVERY, STOPPED = 4, 1.5, 2.0  # processes, seconds between faults, seconds that one is stopped


def run(library: Path, source: Path, out: Path, dice: random.Random | None) -> tuple[float, dict[str, int]]:
    """Seconds of a job, and the faults that it met; none without dice."""
    os.environ["TOY_CHAOS"] = "0.3" if dice else ""
    arguments = command(source, out)
    servers = [Server(library) for _ in range(WORKERS)]  # one each, so that each can be waited for alone
    faults = {"stopped": 0, "killed": 0}
    pids: list[int] = []
    ended = threading.Event()
    began = time.perf_counter()
    pids = [server.start(arguments, out) for server in servers]

    def serve(place: int) -> None:
        while servers[place].wait(pids[place]) == -signal.SIGKILL:
            pids[place] = servers[place].start(arguments, out)

    def harm(dice: random.Random) -> None:
        while not ended.wait(EVERY):
            pid, kind = pids[dice.randrange(WORKERS)], dice.choice(list(faults))
            try:
                os.kill(pid, signal.SIGSTOP if kind == "stopped" else signal.SIGKILL)
            except ProcessLookupError:
                continue
            faults[kind] += 1
            if kind == "stopped":
                time.sleep(STOPPED)
                os.kill(pid, signal.SIGCONT)

    waiting = [threading.Thread(target=serve, args=(place,)) for place in range(WORKERS)]
    harming = threading.Thread(target=harm, args=(dice,)) if dice else None
    for thread in [*waiting, *([harming] if harming else [])]:
        thread.start()
    for thread in waiting:
        thread.join()
    seconds = time.perf_counter() - began
    ended.set()
    if harming:
        harming.join()
    for server in servers:
        server.close()
    return seconds, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=3000)
    asked = parser.parse_args()
    os.environ["TOY_SECONDS"] = "0.06"
    dice, ratios, met = random.Random(1), [], {"stopped": 0, "killed": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library, source = shim(folder), write_source(folder / "source.txt", asked.lines)
        for number in range(asked.rounds):
            quiet, _ = run(library, source, folder / f"quiet-{number}", None)
            among, faults = run(library, source, folder / f"faults-{number}", dice)
            if digest(folder / f"quiet-{number}", RESULTS) != digest(folder / f"faults-{number}", RESULTS):
                raise SystemExit("the results differ")
            met = {kind: met[kind] + faults[kind] for kind in met}
            ratios.append(among / quiet)
            print(f"{quiet:.1f} s without faults, {among:.1f} s among {faults}: {ratios[-1]:.2f} times", flush=True)
    found = {"ratio": median(ratios), "ratios": ratios, "faults": met, "workers": WORKERS, "lines": asked.lines}
    print(f"median {found['ratio']:.2f} times; same bytes")
    save("chaos", {"signature": signature("chaos", f"{asked.lines} lines"), **found})


if __name__ == "__main__":
    main()
