"""The command `distilmt`: names, flags and exit codes; the work is in the module of each command's name.

Results go to standard output; progress, notes and errors to standard error. Exit codes: 0 ok, 1 internal, 2 usage or
configuration, 3 bad input data, 4 resource (disk, memory, device), 130 interrupted and resumable; 141 where the reader
of standard output has gone, as for every Unix filter.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import Annotated

import typer

from distilmt import bill, distill, evaluate, forecast, knn, label, payback, quickstart, report, train
from distilmt.bill.command import BillConfig
from distilmt.bill.forecast import ForecastConfig
from distilmt.bill.payback import PaybackConfig
from distilmt.distill import DistillConfig
from distilmt.errors import DataError, UserError
from distilmt.evaluate import EvaluateConfig
from distilmt.interface import commands
from distilmt.interface.commands import ScoreConfig, TranslateConfig
from distilmt.interface.flags import command
from distilmt.interface.invocation import WORDS
from distilmt.knn import BuildConfig, SearchConfig
from distilmt.label import LabelConfig
from distilmt.labels.redo import RedoConfig, redo
from distilmt.labels.select import SelectConfig, select
from distilmt.multilingual.command import MultilingualConfig, multilingual
from distilmt.quickstart import QuickstartConfig
from distilmt.report.command import ReportConfig
from distilmt.state.storage import explain
from distilmt.study.commands import app as study_app
from distilmt.train import TrainConfig

# typer's newer releases carry a click of their own, the older ones import it: this is the name that both know.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="distilmt",
    help="Knowledge distillation for machine translation: every method, a fast native teacher, and the bill.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
command(app, "quickstart", QuickstartConfig, quickstart)


@app.command("split")
def split_command(
    source: Annotated[str, typer.Argument(help="one sentence a line; plain, .gz, .xz or .zst")],
    target: Annotated[str, typer.Argument(help="its translations, line by line")],
    out: Annotated[str, typer.Option(metavar="DIR", help="folder for train.*, dev.* and test.*")],
    dev: Annotated[int, typer.Option(help="pairs in dev")],
    test: Annotated[int, typer.Option(help="pairs in test")],
    seed: Annotated[int, typer.Option(help="the same seed and files give the same parts")] = 1,
) -> None:
    """Cuts a corpus into random train, dev and test parts that share no sentence up to case and punctuation."""
    from distilmt.text.split import split

    found = split(source, target, dev=dev, test=test, seed=seed, out=out)
    for note in found.notes:
        print(f"distilmt: {note}", file=sys.stderr)
    print(found)


command(app, "train", TrainConfig, train)
command(app, "distill", DistillConfig, distill)
command(app, "multilingual", MultilingualConfig, multilingual)
command(app, "label", LabelConfig, label)
command(app, "translate", TranslateConfig, commands.translate)
command(app, "score", ScoreConfig, commands.score)
command(app, "evaluate", EvaluateConfig, evaluate)
command(app, "report", ReportConfig, report, positional=("runs",))
command(app, "bill", BillConfig, bill, positional=("runs",))
command(app, "forecast", ForecastConfig, forecast)
command(app, "payback", PaybackConfig, payback, positional=("run",))
app.add_typer(study_app, name="study")

labels_app = typer.Typer(
    help="Finished and unfinished jobs of `distilmt label`.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(labels_app, name="labels")
LabelsFolder = Annotated[str, typer.Argument(metavar="LABELS", help="the --out of a `distilmt label`")]
command(labels_app, "redo", RedoConfig, redo, positional=("labels",))
command(labels_app, "select", SelectConfig, select, positional=("labels",))


@labels_app.command("status")
def labels_status_command(labels: LabelsFolder) -> None:
    """Shows how far a job is: lines, verdicts, speed, who works at what."""
    from distilmt.labels.status import status

    print(status(labels))


@labels_app.command("verify")
def labels_verify_command(labels: LabelsFolder) -> int:
    """Reads everything a job holds and compares it with what was recorded."""
    from distilmt.labels.status import verify

    found = verify(labels)
    print(found)
    return DataError.exit_code if found.problems else 0


@labels_app.command("export")
def labels_export_command(
    labels: LabelsFolder,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text, tsv, parquet or hf")] = "text",
    out: Annotated[str | None, typer.Option(metavar="FILE", help="a file, or for hf a folder")] = None,
) -> None:
    """Writes finished labels for others, a row a line: to standard output (text, tsv), or to a file or folder."""
    from distilmt.labels.export import export

    export(labels, format=format, out=out)  # type: ignore[arg-type]  # checked there


knn_app = typer.Typer(
    help="Nearest neighbours of a training text: the datastore of kNN-MT and kNN-KD.", no_args_is_help=True
)
app.add_typer(knn_app, name="knn")
command(knn_app, "build", BuildConfig, knn.build)
command(knn_app, "search", SearchConfig, knn.search, positional=("store",))


@app.command("methods")
def methods_command() -> None:
    """Lists the names for --method: what data they train on, what they minimise, where they come from."""
    print(commands.methods())


@app.command("explain")
def explain_command(
    expression: Annotated[str, typer.Argument(help="as in '0.5 * NLL() + 0.5 * WordKD()', or a method's name")],
) -> None:
    """Shows what an objective is made of."""
    print(commands.explain(expression))


@app.command("check")
def check_command(
    model: Annotated[str, typer.Argument(help="a Marian folder or hub name")],
    lines: Annotated[str | None, typer.Option(metavar="FILE", help="source text to probe with")] = None,
    unsafe_pickle: Annotated[
        bool, typer.Option("--unsafe-pickle", help="first convert a pytorch_model.bin whose sender you trust")
    ] = False,
) -> int:
    """Proves that a model folder keeps the export contract: every engine decodes the same tokens from it."""
    from distilmt.marian.check import check
    from distilmt.text.lines import read_lines

    texts = None if lines is None else [line.text for line in read_lines(lines) if line.status == "ok"]
    found = check(model, texts, unsafe_pickle=unsafe_pickle)
    print(found)
    return 0 if found.ok else DataError.exit_code


@app.command("doctor")
def doctor_command() -> int:
    """Shows what is built, what is loaded and why not, and what this machine offers."""
    from distilmt.interface.doctor import doctor

    found = doctor()
    print(found)
    return found.exit_code


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    Args:
        arguments: without the program's name; those of this process by default.
    """
    _speak_utf8()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python flushes once more at exit: give it a place where that succeeds.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except BaseException as error:
        return _fail(error)


def _run(arguments: list[str]) -> int:
    words = WORDS.set(tuple(arguments))
    # Not app(): that would print and number errors in its own way, and turn Ctrl-C into "Aborted!".
    program = typer.main.get_command(app)
    try:
        with program.make_context("distilmt", arguments) as context:
            result = program.invoke(context)
    except typer.Exit as error:  # --help
        return int(error.exit_code)
    except UsageError as error:
        error.show()  # type: ignore[attr-defined]
        return 2
    finally:
        WORDS.reset(words)
    return result if isinstance(result, int) else 0


def _fail(error: BaseException) -> int:
    """Says what went wrong in one sentence, and returns the exit code."""
    if os.environ.get("DISTILMT_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        print(file=sys.stderr)  # a progress bar may have left its line open
        return _say("interrupted; run the same command again to continue", 130)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, UserError):
        return _say(str(error), error.exit_code)
    # torch has no class of its own for memory of the CPU.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error):
        return _say("out of memory - use smaller batches (--batch-tokens), fewer --threads or a smaller model", 4)
    if isinstance(error, OSError):
        return _say(explain(error), 4)
    return _say(f"internal error: {type(error).__name__}: {error} (set DISTILMT_DEBUG=1 for the traceback)", 1)


def _say(sentence: str, code: int) -> int:
    print(f"distilmt: {sentence}", file=sys.stderr)
    return code


def _speak_utf8() -> None:
    """Text is UTF-8 in any locale; names of files that are none pass through as they are."""
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)
