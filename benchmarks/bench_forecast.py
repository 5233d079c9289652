"""How well a forecast foretells: each choice is forecast from a sample, then the whole text is labelled by the job, then
forecast again: what the machine did meanwhile shows in the difference of the two.

    python benchmarks/bench_forecast.py --model ../shared/models/multi30k-de-en --source ../shared/data/multi30k.train.de.gz \
        --beams 1 4 --types int8 float32 --workers 1 2 --sample 300

Prints seconds forecast before and after with their intervals, seconds of the job, and forecast by job (1 is perfect, 0.8 to
1.2 is promised); writes benchmarks/results/forecast.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import distilmt
from common import save, signature
from distilmt.label import Labels


def foretell(arguments: argparse.Namespace, source: str, beam: int, kind: str, workers: int) -> dict[str, Any]:
    row = distilmt.forecast(
        model=arguments.model, source=source, beams=(beam,), compute_types=(kind,), workers=(workers,),
        sample=arguments.sample,
    ).rows[0]  # fmt: skip
    ends = [None if hours is None else hours * 3600 for hours in (row.hours.low, row.hours.high)]
    return {"seconds": row.hours.value * 3600, "interval": ends, "disk_bytes": row.disk_bytes}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--beams", type=int, nargs="+", default=[4])
    parser.add_argument("--types", nargs="+", default=["int8", "float32"])
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--lines", type=int, help="of the source, its first ones [default: all]")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.source
        if arguments.lines:
            from distilmt.corpus import read_lines, write_lines

            source = str(Path(folder) / "source.txt")
            lines = [line.text for line in read_lines(arguments.source)]
            write_lines(source, lines[: arguments.lines])
        for beam, kind, workers in product(arguments.beams, arguments.types, arguments.workers):
            choice = (source, beam, kind, workers)
            before = foretell(arguments, *choice)
            out = Path(folder) / f"{beam}-{kind}-{workers}"
            start = time.perf_counter()
            labels = distilmt.label(
                model=arguments.model, source=source, out=str(out), beam_size=beam, compute_type=kind, threads=workers
            )
            seconds = time.perf_counter() - start
            assert isinstance(labels, Labels)
            after = foretell(arguments, *choice)
            ratio = (before["seconds"] + after["seconds"]) / 2 / seconds
            disk = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
            name = f"beam {beam}, {kind}, {workers} workers"
            low, high = before["interval"]
            print(
                f"{name}: forecast {before['seconds']:.1f} s ({low:.1f} to {high:.1f}) and {after['seconds']:.1f} s, job of "
                f"{labels.lines:,} lines {seconds:.1f} s, ratio {ratio:.2f}; disk {before['disk_bytes'] / 1e6:.1f} of "
                f"{disk / 1e6:.1f} MB",
                flush=True,
            )
            results.append({
                "choice": name, "before": before, "after": after, "job_seconds": seconds, "lines": labels.lines, "ratio": ratio,
                "disk_bytes": disk, "signature": signature("forecast", f"{labels.lines}x{arguments.sample}", type=kind, beam=beam),
            })  # fmt: skip
    save("forecast", {"choices": results})


if __name__ == "__main__":
    main()
