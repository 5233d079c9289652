"""`distilmt study run|status|report FILE`."""

from __future__ import annotations

from typing import Annotated

import typer

from distilmt import study
from distilmt.flags import ListCommand

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
