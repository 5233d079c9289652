"""commands.py: the filters and the small commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from distilmt import cli
from distilmt.distilling.methods import METHODS
from shell import distilmt

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


def test_the_model_s_options_reach_the_translator(tiny_model_folder: Path, tmp_path: Path):
    from distilmt.translate import Translator

    words = ["--model", tiny_model_folder, "--engine", "transformers"]
    (tmp_path / "source").write_text("the dog\n")
    found = distilmt("translate", *words, "--beam-size", "2", "--max-length", "6", text=b"the dog\n")
    assert found.returncode == 0, found.stderr
    expected = Translator(tiny_model_folder, compute_type="float32").translate(["the dog"], beam_size=2, max_length=6)[
        0
    ]
    assert found.stdout.decode() == f"{expected.text}\n"
    for command in (
        ["translate", "--model", tiny_model_folder],
        ["score", "--model", tiny_model_folder, "--source", tmp_path / "source", "--target", tmp_path / "source"],
        ["label", "--model", tiny_model_folder, "--source", tmp_path / "source", "--out", tmp_path / "labels"],
    ):
        done = distilmt(*command, "--target-language", "fra", text=b"the dog\n")
        assert done.returncode == 2 and b">>fra<< is none of this vocabulary's language tags" in done.stderr


def test_translate_options_of_the_search(tiny_model_folder: Path):
    from distilmt.translate import Translator

    words = ["translate", "--model", tiny_model_folder, "--max-length", "12", "--threads", "1", "--n-best", "3"]
    translator = Translator(tiny_model_folder, threads=1)
    for flags, asked in [
        ("--sample --seed 7 --temperature 1.5 --top-k 30 --top-p 0.9",
         {"sample": True, "seed": 7, "temperature": 1.5, "top_k": 30, "top_p": 0.9}),
        ("--early-stopping exact --patience 2 --coverage-penalty 0.2 --length-penalty-form gnmt",
         {"early_stopping": "exact", "patience": 2.0, "coverage_penalty": 0.2, "length_penalty_form": "gnmt"}),
        ("--early-stopping true --repetition-penalty 1.2 --no-repeat-ngram-size 2 --min-length 5",
         {"early_stopping": True, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_length": 5}),
    ]:  # fmt: skip
        done = distilmt(*words, *flags.split(), text=b"the dog\nHund\n")
        assert done.returncode == 0, done.stderr
        expected = translator.translate(["the dog", "Hund"], n_best=3, max_length=12, **asked)
        texts = [line.split("\t")[1] for line in done.stdout.decode().splitlines()]
        assert texts == [each.text for translation in expected for each in translation.hypotheses]
    done = distilmt(*words, "--top-p", "2", text=b"the dog\n")
    assert done.returncode == 2 and b"top_p: expected a number from 1e-09 to 1, got 2" in done.stderr


def test_score(tiny_model_folder: Path, tmp_path: Path):
    from distilmt.translate import Translator

    words = ["score", "--model", tiny_model_folder, "--source", tmp_path / "source", "--target", tmp_path / "target"]
    (tmp_path / "source").write_text("the dog\n\nHund\n")
    (tmp_path / "target").write_text("Hund\nx\nthe dog sees\n")
    done = distilmt(*words)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    scored = Translator(tiny_model_folder).score(["the dog", "Hund"], ["Hund", "the dog sees"])
    assert rows[1] == ["", "", "0", "empty_source"]
    assert rows[::2] == [[f"{s.score:.6f}", f"{sum(s.log_probs):.6f}", str(len(s.log_probs)), "ok"] for s in scored]
    assert b"3 pairs" in done.stderr and b"nats per token" in done.stderr
    (tmp_path / "target").write_text("Hund\n")
    done = distilmt(*words)
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
    lines = capsys.readouterr().out.splitlines()
    named = lines[: lines.index("")]  # a line each, formulas are for `explain`
    assert [line.split()[0] for line in named] == ["alone", *METHODS] and not any("KD()" in line for line in lines)
    assert re.match(r"word-kd +gold pairs; .*\(Kim & Rush 2016", named[1])
    options = lines[lines.index("By option, with any of these:") :]
    for sought in ("ensemble", "Collective Wisdom", "kNN-MT", "attention maps", "filtered"):
        (line,) = (line for line in options if sought in line)
        assert line.startswith(("--", "distilmt "))
    assert cli.main(["explain", "0.5 * NLL(label_smoothing=0.1) + 0.25 * WordKD(temperature=2)"]) == 0
    out = capsys.readouterr().out
    assert "teacher    needed" in out and "arXiv:1606.07947" in out
    assert "0.25 * WordKD(temperature=2, teacher_temperature=None, tail='renormalise', iterations=1)\n" in out
    assert "0.5 * NLL(label_smoothing=0.1, smoothing='others', temperature=1.0)\n" in out
    assert "with weight 0.5, e = 0.1, T = 1\n" in out and "with weight 0.25, T = 2\n" in out
    for name, parts in {
        "f-js": ("2307.15190", "SkewReverseKD(skew=0.5)", "beside it on the student's samples", "40 likeliest"),
        "continual": ("with each teacher in turn", "Inheritance()", "2212.09097", "teacher_better"),
        "selective-global": ("1 * SelectiveKD(rate=0.5, level='global', queue_size=30000, by='student_nll'",),
        "stacked": ("then recipe seq-inter\n", "\n    learning rate times 0.1\n"),
        "imitkd": ("on the student's own words Top1()\n", "own targets: share 1.0, schedule exponential, by sentence"),
        "hybrid": ("unless given --pseudo-share 0.5, --drop-worst 0.0\n",),
        "distil-adapt-distil": ("with the adapted teacher on the text", "Gordon & Duh 2020", "arXiv:1606.07947"),
    }.items():
        assert cli.main(["explain", name]) == 0
        out = capsys.readouterr().out
        assert not [part for part in parts if part not in out], name
    assert cli.main(["explain", "WordKD"]) == 2 and "write WordKD()" in capsys.readouterr().err
    assert cli.main(["explain", "word-kdd"]) == 2 and "did you mean word-kd?" in capsys.readouterr().err
    assert cli.main(["explain", "seq-kd+wordkd"]) == 2
    assert "did you mean word-kd" in capsys.readouterr().err
    assert cli.main(["explain", "NLR()"]) == 2
    assert "did you mean NLL" in capsys.readouterr().err


def test_check_fails_with_the_model(tmp_path: Path, capsys, monkeypatch):
    def check(model: str, lines: list[str] | None, unsafe_pickle: bool) -> SimpleNamespace:
        return SimpleNamespace(ok=lines != ["broken"], model=model, lines=lines)

    monkeypatch.setitem(sys.modules, "distilmt.marian.check", SimpleNamespace(check=check))
    assert cli.main(["check", "m"]) == 0
    assert "model='m', lines=None" in capsys.readouterr().out
    (tmp_path / "probe").write_text("\nbroken\n\x00\n")
    assert cli.main(["check", "m", "--lines", str(tmp_path / "probe")]) == 3


def test_evaluate_scores_files(tmp_path: Path, capsys):
    (tmp_path / "out").write_text("the dog sees the cat\n")
    (tmp_path / "ref").write_text("the dog sees the cat\n")
    assert cli.main(["evaluate", "--hypotheses", str(tmp_path / "out"), "--references", str(tmp_path / "ref")]) == 0
    assert "BLEU  100.0  nrefs:1|" in capsys.readouterr().out
