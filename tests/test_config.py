"""config.py and values.py: one schema for keywords, YAML, settings and flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from distilmt.errors import ConfigError
from distilmt.interface.config import as_call, load, options, resolve, to_dict
from distilmt.interface.values import convert, describe


@dataclass(frozen=True)
class Training:
    learning_rate: float = field(default=1e-3, metadata={"help": "peak"})
    seed: int = 1
    clip_norm: float | None = 1.0


@dataclass(frozen=True)
class Job:
    train: tuple[str, str] = field(metadata={"help": "two files", "metavar": "SOURCE TARGET"})
    out: Path = field(metadata={"help": "folder"})
    precision: Literal["auto", "float32"] = "auto"
    seed: int = 7
    seeds: tuple[int, ...] = (1,)
    tests: tuple[tuple[str, str], ...] = ()
    language: str = "de"
    fast: bool = False
    training: Training = field(default_factory=lambda: Training(learning_rate=2e-3))
    teacher_training: Training = field(default_factory=Training, metadata={"prefix": "teacher_"})

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ConfigError("seeds: at least one is needed")


NEEDED = {"train": ("a.de", "a.en"), "out": "run"}


def test_keywords_flat_dotted_nested_and_mapping_are_the_same() -> None:
    expected = resolve(Job, train=("a.de", "a.en"), out=Path("run"), learning_rate=5e-4)
    assert expected.training == Training(learning_rate=5e-4)
    assert resolve(Job, **NEEDED, **{"training.learning_rate": 5e-4}) == expected
    assert resolve(Job, NEEDED, training={"learning_rate": 5e-4}) == expected
    assert resolve(Job, NEEDED | {"training": Training(learning_rate=5e-4)}) == expected
    assert resolve(Job, resolve(Job, NEEDED), learning_rate=5e-4) == expected
    assert load(Job, sets=["train=[a.de, a.en]", "out=run", "training.learning_rate=5e-4"]) == expected
    assert load(Job, flags={"train": ["a.de", "a.en"], "out": "run", "learning_rate": "5e-4"}) == expected
    assert resolve(Job, to_dict(expected)) == expected


def test_an_outer_option_owns_the_short_name() -> None:
    names = {option.keys: option.name for option in options(Job)}
    assert names[("seed",)] == "seed"
    assert names[("training", "seed")] == "training_seed"
    assert names[("teacher_training", "seed")] == "teacher_seed"
    job = resolve(Job, NEEDED, seed=3, training_seed=4, teacher_seed=5)
    assert (job.seed, job.training.seed, job.teacher_training.seed) == (3, 4, 5)


def test_the_default_of_the_field_holds_for_nested_options() -> None:
    assert resolve(Job, NEEDED, training_seed=2).training == Training(learning_rate=2e-3, seed=2)
    default = {option.keys: option.default for option in options(Job)}
    assert default[("training", "learning_rate")] == 2e-3


def test_a_file_gives_text_and_the_schema_the_types(tmp_path: Path) -> None:
    file = tmp_path / "übung.yaml"
    file.write_text(
        "train: [a.de, a.en]\nout: run\nlanguage: no\nfast: yes\ntests: [[t.de, t.en], [u.de, u.en]]\nseeds: 010\n"
        "training:\n  learning-rate: 3e-4\n  clip_norm: null\nteacher_training: {seed: 9}\n",
        encoding="utf-8",
    )
    job = load(Job, file, ["seed=11"], {"precision": "float32"})
    assert job == Job(
        ("a.de", "a.en"), Path("run"), "float32", 11, (10,), (("t.de", "t.en"), ("u.de", "u.en")), "no", True,
        Training(3e-4, 1, None), Training(seed=9),
    )  # fmt: skip
    assert resolve(Job, file, language="nl").language == "nl"


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("train: [a, b]\nout: o\nseed: 1\n")
    assert load(Job, file).seed == 1
    assert load(Job, file, ["seed=2"]).seed == 2
    assert load(Job, file, ["seed=2"], {"seed": "3"}).seed == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning_rate: 1", ":1: lerning_rate: unknown option - did you mean 'learning_rate'?"),
        ("seed: 1\ntraining:\n  sed: 1", ":3: training.sed: unknown option - did you mean 'training.seed'?"),
        ("seed: 1\nseed: 2", ":2: seed: given twice - keep one"),
        ("learning_rate: 1\ntraining: {learning_rate: 2}", "given twice"),
        ("seed: x", ":1: seed: must be integer, got 'x'"),
        ("seed: 1.5", ":1: seed: must be integer, got '1.5'"),
        ("seed: null", ":1: seed: must be integer, got None"),
        ("learning_rate: nan", "must be number, got 'nan'"),
        ("precision: flot32", "must be auto|float32, got 'flot32' - did you mean 'float32'?"),
        ("train: [a]", "train: must be 2 values (text text), got 1: ['a']"),
        ("fast: 2", "fast: must be true|false, got '2'"),
        ("training: 3", ":1: training: must be a group of options"),
        ("- a", ":1: must be `key: value` lines"),
        ("a: [", ":1:5: not YAML: "),
        ("a: &x [1]\nb: *x", "aliases (*name) are not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "a: unknown option"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: \x01", "not YAML: special characters are not allowed"),
        ("seeds: []", "seeds: at least one is needed"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(Job, file, ["train=[a, b]", "out=o"])
    assert message in str(error.value)
    if "at least one" not in message:
        assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"lerning_rate": 1.0}, "lerning_rate: unknown option - did you mean 'learning_rate'?"),
        ({"seed": "3"}, "seed: must be integer, got '3'"),
        ({"seed": True}, "seed: must be integer, got True"),
        ({"seed": 3.0}, "seed: must be integer, got 3.0"),
        ({"learning_rate": "fast"}, "learning_rate: must be number"),
        ({"learning_rate": float("nan")}, "learning_rate: must be number, got nan"),
        ({"fast": 1}, "fast: must be true|false, got 1"),
        ({"train": "a"}, "train: must be text text, got 'a'"),
        ({"zzz": 1}, "zzz: unknown option - known: train, out, precision"),
    ],
)
def test_wrong_keywords(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(Job, NEEDED, **keywords)
    assert message in str(error.value)


def test_missing_options_are_named_together() -> None:
    with pytest.raises(ConfigError, match="train, out: must be given - on the command line"):
        resolve(Job)


@pytest.mark.parametrize(("file", "message"), [("none.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read(tmp_path: Path, file: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Job, tmp_path / file)


def test_a_file_too_large_to_be_a_configuration_is_not_read_whole() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        load(Job, "/dev/zero")


def test_settings_without_a_value() -> None:
    with pytest.raises(ConfigError, match="--set seed: must be KEY=VALUE"):
        load(Job, sets=["seed"])
    with pytest.raises(ConfigError, match="--set seed: must be integer, got 'x'"):
        load(Job, sets=["seed=x"])
    with pytest.raises(ConfigError, match="--learning-rate: must be number"):
        load(Job, flags={"learning_rate": "x"})


def test_values() -> None:
    import numpy

    assert convert(numpy.int64(3), int, text=False) == 3
    assert type(convert(numpy.float32(0.5), float, text=False)) is float
    assert type(convert(3, float, text=False)) is float
    assert convert(Path("a/b"), str, text=False) == "a/b"
    assert convert("30_000", int, text=True) == 30_000
    assert convert("none", int | None, text=True) is None
    assert convert("auto", int | Literal["auto"], text=True) == "auto"
    assert convert("4", int | Literal["auto"], text=True) == 4
    assert convert(("a", "b"), tuple[tuple[str, str], ...], text=False) == (("a", "b"),)
    assert convert(5, tuple[int, ...], text=False) == (5,)
    assert describe(tuple[str, ...] | None) == "text..."


def test_a_configuration_as_the_call_that_it_stands_for() -> None:
    made = resolve(Job, **NEEDED, learning_rate=5e-4, teacher_seed=9, tests=(("a'", "b"),))
    call = as_call("job", made)
    assert call == (
        """job(train=('a.de', 'a.en'), out='run', tests=(("a'", 'b'),), learning_rate=0.0005, teacher_seed=9)"""
    )
    assert eval(call, {"job": lambda **keywords: resolve(Job, **keywords)}) == made
