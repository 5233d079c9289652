"""`distilmt study run|status|report|payback FILE`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from distilmt import study
from distilmt.interface.flags import ListCommand

app = typer.Typer(help="Factors, randomised blocks, repeats: a measured comparison.", no_args_is_help=True)
File = Annotated[str, typer.Argument(metavar="FILE", help="the study, as in examples/studies")]


@app.command("run", cls=ListCommand)
def run_command(
    file: File,
    cells: Annotated[
        list[str] | None, typer.Option(metavar="FACTOR=LEVEL", help="only these cells; several, or block=N")
    ] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="only the I-th of N parts of the blocks")] = None,
) -> int:
    """Runs the cells that are not done; the same command again goes on where it stopped.

    Exit code 1 where a cell failed; the others have run all the same.
    """
    found = study.run(file, cells=cells or (), shard=shard)
    print(found)
    return 1 if found.failures else 0


@app.command("status")
def status_command(file: File) -> None:
    """Says how many cells are done, failed or missing, and how long the rest will take; also while it runs."""
    print(study.status(file))


@app.command("report")
def report_command(file: File) -> None:
    """Writes the table of cells, report.md, report.tex and figures into the study's folder, and prints the report."""
    print(study.report(file))


@app.command("payback", cls=ListCommand)
def payback_command(
    file: File,
    teacher: Annotated[str, typer.Option(metavar="FILE", help="a study of `decode` with cells of the same teacher")],
    baseline: Annotated[str, typer.Option(help="the treatment that quality is gained upon")] = "alone",
    quality: Annotated[str, typer.Option(help="a column of outcomes, more is better")] = "bleu",
    cost: Annotated[str, typer.Option(help="cpu_seconds, seconds or joules")] = "cpu_seconds",
    serve: Annotated[
        list[float] | None, typer.Option(metavar="N", help="sentences to choose for [default: 1e4 1e6 1e9]")
    ] = None,
) -> None:
    """Says what every method of a `distill` study gained and cost, when it has paid back, and which one to choose.

    Writes payback.md, payback.json and figures/payback.svg into the study's folder.
    """
    options: dict[str, Any] = {"serve": serve} if serve else {}
    print(study.payback(file, teacher=teacher, baseline=baseline, quality=quality, cost=cost, **options))
