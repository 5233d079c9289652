"""`distilmt split`: random, disjoint, reproducible parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distilmt import cli
from distilmt.errors import ConfigError, DataError
from distilmt.text.split import normalised, split

Write = Callable[..., Path]


def test_split_is_disjoint_complete_and_reproducible(write: Write, tmp_path: Path) -> None:
    source = [f"Satz {i % 700}." for i in range(1000)] + ["", "!!!", "SATZ 5", "ﬁn"]
    target = [f"Sentence {i % 900}" for i in range(1000)] + ["x", "???", "other", "FIN!"]
    paths = write("\n".join(source).encode(), "c.de"), write("\n".join(target).encode(), "c.en")
    result = split(*paths, dev=40, test=60, seed=3, out=tmp_path / "a")
    assert (result.train, result.dev, result.test, result.left_out) == (903, 40, 60, {"empty_source": 1})
    assert "train: 903 pairs" in str(result)
    parts = {}
    for part in ("train", "dev", "test"):
        left, right = ((tmp_path / "a" / f"{part}.{side}").read_text().splitlines() for side in ("de", "en"))
        parts[part] = list(zip(left, right, strict=True))
    everything = sorted(pair for part in parts.values() for pair in part)
    assert everything == sorted(pair for pair in zip(source, target, strict=True) if pair[0])
    for side in (0, 1):
        seen = {part: {normalised(pair[side]) for pair in pairs} for part, pairs in parts.items()}
        assert not seen["train"] & (seen["dev"] | seen["test"]) and not seen["dev"] & seen["test"]
    again, other = (split(*paths, dev=40, test=60, seed=seed, out=tmp_path / f"b{seed}") for seed in (3, 4))
    same, different = (
        [Path(run.files[part][0]).read_bytes() == (tmp_path / "a" / f"{part}.de").read_bytes() for part in parts]
        for run in (again, other)
    )
    assert all(same) and not any(different)


def test_split_refuses_what_it_cannot_do(write: Write, tmp_path: Path) -> None:
    paths = write(b"a\nA!\nb\n", "train.de"), write(b"x\ny\nz\n", "train.en")
    with pytest.raises(DataError, match="3 pairs in 2 groups that share no sentence"):
        split(*paths, dev=1, test=1, out=tmp_path / "out")
    with pytest.raises(ConfigError, match="would overwrite its own input"):
        split(*paths, dev=1, test=0, out=tmp_path)
    with pytest.raises(ConfigError, match="0 pairs or more"):
        split(*paths, dev=-1, test=0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    same = write(b"a\nb\n", "x.txt"), write(b"a\nb\n", "y.txt")
    assert split(*same, dev=1, test=0, out=tmp_path).files["dev"] == tuple(
        str(tmp_path / f"dev.{side}") for side in ("source", "target")
    )


def test_normalised_sentences() -> None:
    assert normalised("  Ｈello,  WORLD\u00a0— Straße!") == normalised("hello world strasse") == "hello world strasse"
    assert normalised("हिन्दी") != normalised("हन्द")  # marks are parts of words
    assert normalised("...") == "..." != normalised("?!")


def test_command_line(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(b"".join(b"Satz %d\r\n" % i for i in range(30)), "c.de")
    target = write(b"".join(b"sentence %d\n" % i for i in range(30)), "c.en")
    out = tmp_path / "parts"
    command = ["split", str(source), str(target), "--dev", "3", "--test", "4", "--seed", "2", "--out", str(out)]
    assert cli.main(command) == 0
    said = capsys.readouterr()
    assert f"train: 23 pairs in {out}/train.de {out}/train.en" in said.out and "CR LF" in said.err
    assert len((out / "test.en").read_text().splitlines()) == 4
    before = {path: path.read_bytes() for path in out.iterdir()}
    write(b"one line\n", "c.en")
    assert cli.main(command) == 3
    error = capsys.readouterr().err
    assert "c.de: 30 lines, but" in error and "c.en has 1" in error and "Traceback" not in error
    assert cli.main([*command[:-2], "--dev", "x", "--out", str(out)]) == 2
    assert {path: path.read_bytes() for path in out.iterdir()} == before  # nothing was touched
