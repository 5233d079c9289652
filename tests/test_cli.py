"""cli.py, flags.py: flags, streams and exit codes, as a user meets them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import typer

from distilmt import cli
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.interface.flags import command
from distilmt.interface.invocation import invocation


@dataclass(frozen=True)
class Nested:
    rate: float = field(default=0.5, metadata={"help": "how fast"})


@dataclass(frozen=True)
class Job:
    files: tuple[str, ...] = field(metadata={"help": "what to read"})
    pair: tuple[str, str] = field(metadata={"help": "two files", "metavar": "SOURCE TARGET"})
    refs: tuple[str, ...] = field(default=(), metadata={"help": "several"})
    tests: tuple[tuple[str, str], ...] = field(default=(), metadata={"help": "pairs"})
    fast: bool = field(default=False, metadata={"help": "hurry"})
    nested: Nested = field(default_factory=Nested)


def run_job(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Runs a command made from `Job` through main()."""

    def job(config: Job) -> Job:
        """Prints its options.

        Args:
            config: not shown in the help.
        """
        return config

    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    command(app, "job", Job, job, positional=("files",))
    app.command("other")(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    code = cli.main(["job", *words])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_dataclass_becomes_a_command(capsys, monkeypatch, tmp_path):
    given = "a b --pair s t --refs x y --refs z --tests p q --tests r s --fast --rate 3e-4"
    code, out, _ = run_job(given.split(), capsys, monkeypatch)
    expected = Job(("a", "b"), ("s", "t"), ("x", "y", "z"), (("p", "q"), ("r", "s")), True, Nested(3e-4))
    assert (code, out) == (0, f"{expected}\n")
    file = tmp_path / "job.yaml"
    file.write_text(
        "files: [a, b]\npair: [s, t]\nrefs: [x, y, z]\ntests: [[p, q], [r, s]]\nfast: true\nnested: {rate: 1}\n"
    )
    assert run_job(["--config", str(file), "--set", "nested.rate=3e-4"], capsys, monkeypatch)[:2] == (
        0,
        f"{expected}\n",
    )
    assert "rate=7.0" in run_job(["--config", str(file), "--set", "rate=3", "--rate", "7"], capsys, monkeypatch)[1]
    assert "fast=False" in run_job(["--config", str(file), "--no-fast"], capsys, monkeypatch)[1]


def test_a_job_knows_the_words_of_its_command_and_in_python_its_call(capsys, monkeypatch):
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    command(app, "job", Job, lambda config: invocation("job", config), positional=("files",))
    app.command("other")(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    assert cli.main(["job", "a b", "--pair", "s", "t"]) == 0
    assert capsys.readouterr().out == "distilmt job 'a b' --pair s t\n"
    assert invocation("job", Job(("a b",), ("s", "t"))) == "distilmt.job(files=('a b',), pair=('s', 't'))"


def test_its_help_is_made_from_the_dataclass(capsys, monkeypatch):
    code, out, _ = run_job(["--help"], capsys, monkeypatch)
    assert code == 0
    said = " ".join(out.split())
    assert "--pair SOURCE TARGET two files [required]" in said
    assert "--rate number how fast [default: 0.5]" in said
    assert "--fast / --no-fast hurry [default: false]" in said
    assert "Prints its options." in said and "not shown" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a --pair s t --rate fast", "distilmt: --rate: must be number, got 'fast'"),
        ("a --pair s", "Error: Option '--pair' requires 2 arguments"),
        ("a --pair s t --tests p", "distilmt: --tests: must be 2 values (text text), got 1: ['p']"),
        ("--pair s t", "distilmt: files: must be given"),
        ("a --pair s t --rat 1", "Error: No such option: --rat"),
        ("a --pair s t --set rat=1", "distilmt: --set rat: unknown option - did you mean 'rate'?"),
        (
            "a --pair s t --config none.yaml",
            "distilmt: none.yaml: No such file or directory - name an existing YAML file",
        ),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(words, message, capsys, monkeypatch):
    code, out, err = run_job(words.split(), capsys, monkeypatch)
    assert (code, out) == (2, "")
    assert message in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ConfigError("a: wrong - mend it"), 2, "distilmt: a: wrong - mend it\n"),
        (DataError("f:3: bad - mend it"), 3, "distilmt: f:3: bad - mend it\n"),
        (ResourceError("d: full - mend it"), 4, "distilmt: d: full - mend it\n"),
        (OSError(28, "No space left on device", "/x/y"), 4, "distilmt: /x/y: No space left on device - free space"),
        (MemoryError(), 4, "distilmt: out of memory - use smaller batches"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 4, "distilmt: out of memory"),
        (KeyboardInterrupt(), 130, "\ndistilmt: interrupted; run the same command again to continue\n"),
        (ZeroDivisionError("by zero"), 1, "distilmt: internal error: ZeroDivisionError: by zero (set DISTILMT_DEBUG=1"),
        (SystemExit(5), 5, ""),
    ],
)
def test_exit_codes(error, code, sentence, capsys, monkeypatch):
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    monkeypatch.delenv("DISTILMT_DEBUG", raising=False)
    assert cli.main([]) == code
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith(sentence) and "Traceback" not in out.err
    monkeypatch.setenv("DISTILMT_DEBUG", "1")
    assert cli.main([]) == code
    assert "Traceback" in capsys.readouterr().err


COMMANDS = (
    "quickstart split train distill label labels translate score evaluate report bill forecast payback methods explain "
    "check doctor"
)


def test_help_names_every_command_and_imports_nothing_heavy():
    script = (
        "import sys; from distilmt.cli import main; code = main(['--help']);"
        "print(code, sorted({'torch', 'transformers', 'numpy', 'matplotlib', 'sacrebleu'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60).stdout
    assert out.splitlines()[-1] == "0 []"
    for name in COMMANDS.split():
        assert f"\n  {name} " in out


def test_the_functions_stand_where_their_modules_would():
    script = """
import distilmt.train
import distilmt
import distilmt.train as t
from distilmt.train import TrainConfig
import distilmt.evaluate, distilmt.label, distilmt.quickstart, distilmt.distill, distilmt.report, sys
for name in ("train", "distill", "label", "evaluate", "quickstart", "report"):
    assert type(getattr(distilmt, name)).__name__ == "function", name
    assert getattr(distilmt, name) is getattr(sys.modules[f"distilmt.{name}"], name)
assert t is distilmt.train
assert TrainConfig.__module__ == "distilmt.train"
assert not {"torch", "numpy", "transformers", "sacrebleu"} & set(sys.modules)
assert distilmt.energy.Meter and distilmt.Report and distilmt.Run and distilmt.Translator and distilmt.ConfigError
assert not {"torch", "transformers"} & set(sys.modules)
try:
    distilmt.nothing
except AttributeError as error:
    assert "'nothing'" in str(error)
assert {"train", "Translator", "energy"} <= set(dir(distilmt))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
