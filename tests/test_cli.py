"""cli.py, flags.py, commands.py: flags, streams and exit codes, as a user meets them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from distilmt import cli
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.flags import command


def distilmt(*words: str | bytes | Path, text: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "distilmt", *words],
        input=text, capture_output=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


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
        (KeyboardInterrupt(), 130, "distilmt: interrupted; run the same command again to continue\n"),
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


COMMANDS = "train distill label translate score evaluate report methods explain check doctor"


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
import distilmt.evaluate, distilmt.label, distilmt.distill, distilmt.report, sys
for name in ("train", "distill", "label", "evaluate", "report"):
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


TEXT = "the dog sees the cat .\n\nHund\u2028Katze\r\n  \nthe tree\x00\nthe house".encode()


def test_translate_is_a_filter(tiny_model_folder: Path):
    done = distilmt("translate", "--model", tiny_model_folder, "--beam-size", "2", "--max-length", "12", text=TEXT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().split("\n")
    assert len(lines) == 7 and lines[-1] == ""
    assert [bool(line) for line in lines[:6]] == [True, False, True, False, False, True]
    assert (
        b"distilmt: 6 lines: " in done.stderr and b"2 empty_source" in done.stderr and b"1 quarantined" in done.stderr
    )


def test_translate_scores_and_n_best(tiny_model_folder: Path):
    from distilmt.translate import Translator

    words = ["translate", "--model", tiny_model_folder, "--beam-size", "3", "--max-length", "12", "--threads", "1"]
    done = distilmt(*words, "--n-best", "2", "--scores", text=b"the dog\n\nHund\n")
    rows = [line.split("\t", 2) for line in done.stdout.decode().splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "3", "3"]
    translator = Translator(tiny_model_folder, threads=1)
    expected = translator.translate(["the dog", "Hund"], beam_size=3, n_best=2, max_length=12)
    assert [row[1:] for row in rows if row[0] != "2"] == [
        [f"{each.score:.6f}", each.text] for translation in expected for each in translation.hypotheses
    ]
    one = distilmt(*words, "--scores", text=b"the dog\n").stdout.decode()
    assert one == f"{expected[0].hypotheses[0].score:.6f}\t{expected[0].text}\n"


def test_score(tiny_model_folder: Path, tmp_path: Path):
    from distilmt.translate import Translator

    words = ["score", "--model", tiny_model_folder, "--source", tmp_path / "source", "--target", tmp_path / "target"]
    (tmp_path / "source").write_text("the dog\n\nHund\n")
    (tmp_path / "target").write_text("Hund\nx\nthe dog sees\n")
    done = distilmt(
        "score", "--model", tiny_model_folder, "--source", tmp_path / "source", "--target", tmp_path / "target"
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    scored = Translator(tiny_model_folder).score(["the dog", "Hund"], ["Hund", "the dog sees"])
    assert rows[1] == ["", "", "0", "empty_source"]
    assert rows[::2] == [[f"{s.score:.6f}", f"{sum(s.log_probs):.6f}", str(len(s.log_probs)), "ok"] for s in scored]
    assert b"3 pairs" in done.stderr and b"nats per token" in done.stderr
    (tmp_path / "target").write_text("Hund\n")
    done = distilmt(
        "score", "--model", tiny_model_folder, "--source", tmp_path / "source", "--target", tmp_path / "target"
    )
    assert done.returncode == 3 and b"Traceback" not in done.stderr


def test_invalid_utf8_on_standard_input(tiny_model_folder: Path):
    words = ["translate", "--model", tiny_model_folder, "--max-length", "8"]
    done = distilmt(*words, text=b"the dog\nthe \xff cat\n")
    assert done.returncode == 3 and b"/dev/stdin:2:5: invalid UTF-8 (bytes ff 20 63 61)" in done.stderr
    done = distilmt(*words, "--on-invalid-utf8", "replace", text=b"the dog\nthe \xff cat\n")
    assert done.returncode == 0 and done.stdout.count(b"\n") == 2


def test_a_reader_that_goes_away_ends_the_command_quietly(tiny_model_folder: Path):
    words = [sys.executable, "-m", "distilmt", "translate", "--model", tiny_model_folder, "--max-length", "4"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(b"the dog\n" * 20)
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_methods_and_explain(capsys):
    assert cli.main(["methods"]) == 0
    out = capsys.readouterr().out
    assert "word-kd\n" in out and "Kim & Rush 2016" in out
    assert cli.main(["explain", "0.5 * NLL() + 0.5 * WordKD(temperature=2)"]) == 0
    out = capsys.readouterr().out
    assert "teacher    needed" in out and "0.5 * WordKD(temperature=2)" in out and "arXiv:1606.07947" in out
    assert cli.main(["explain", "NLR()"]) == 2
    assert "did you mean NLL" in capsys.readouterr().err


def test_check_fails_with_the_model(tmp_path: Path, capsys, monkeypatch):
    def check(model: str, lines: list[str] | None) -> SimpleNamespace:
        return SimpleNamespace(ok=lines != ["broken"], model=model, lines=lines)

    monkeypatch.setitem(sys.modules, "distilmt.check", SimpleNamespace(check=check))
    assert cli.main(["check", "m"]) == 0
    assert "model='m', lines=None" in capsys.readouterr().out
    (tmp_path / "probe").write_text("\nbroken\n\x00\n")
    assert cli.main(["check", "m", "--lines", str(tmp_path / "probe")]) == 3


def test_evaluate_scores_files(tmp_path: Path, capsys):
    (tmp_path / "out").write_text("the dog sees the cat\n")
    (tmp_path / "ref").write_text("the dog sees the cat\n")
    assert cli.main(["evaluate", "--hypotheses", str(tmp_path / "out"), "--references", str(tmp_path / "ref")]) == 0
    assert "BLEU  100.0  nrefs:1|" in capsys.readouterr().out
