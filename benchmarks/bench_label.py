"""What a labelling job costs beside its decoding, and what a second worker gains.

    python benchmarks/bench_label.py --model MODEL --source FILE [--target FILE] --name NAME --workers 1 2 -- \\
        --beam-size 8 --n-best 8 --soft-labels 8

Runs `distilmt label` once per number of workers, one thread each, in turn `--rounds` times, compares the results byte for byte, and
prints lines/s (wall clock), the share of the workers' time that is not decoding, and the gain over one worker; writes
benchmarks/results/label_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from common import save, signature


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--name", required=True, help="of the results")
    parser.add_argument("options", nargs="*", help="of `distilmt label`, behind --")
    asked = parser.parse_args()
    texts = ["--source", asked.source, *(["--target", asked.target] if asked.target else [])]
    command = [sys.executable, "-m", "distilmt", "label", "--model", asked.model, *texts, *asked.options]
    seconds: dict[int, list[float]] = {count: [] for count in asked.workers}
    other: dict[int, list[float]] = {count: [] for count in asked.workers}
    proofs, lines = set(), 0
    for _ in range(asked.rounds):
        for count in asked.workers:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "labels"
                began = time.perf_counter()
                words = ["--out", str(out), "--workers", str(count), "--threads", str(count)]
                subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)
                seconds[count].append(time.perf_counter() - began)
                other[count].append(json.loads((out / "cost.json").read_text())["other_share"])
                proofs.add((out / "labels.json").read_text())
                lines = json.loads((out / "labels.json").read_text())["lines"]
    if len(proofs) != 1:
        raise SystemExit("the results differ")
    found: dict[int, dict[str, Any]] = {
        count: {
            "lines_per_second": lines / median(seconds[count]),
            "seconds": seconds[count],
            "other_share": other[count],
        }
        for count in asked.workers
    }
    first = found[asked.workers[0]]["lines_per_second"]
    for count, each in found.items():
        print(
            f"{count} workers: {each['lines_per_second']:,.1f} lines/s, {100 * median(other[count]):.1f} % not decoding, "
            f"{each['lines_per_second'] / first:.2f} times {asked.workers[0]}"
        )
    signed = signature("label", f"{lines} lines", options=" ".join(asked.options))
    print(signed)
    save(f"label_{asked.name}", {"signature": signed, "workers": found})


if __name__ == "__main__":
    main()
