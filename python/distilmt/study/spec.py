"""The study file: what is varied, what is fixed, how often, and which comparisons were meant before anything ran.

    name: beams
    out: runs/beams
    task: decode                               # or distill, or MODULE:FUNCTION
    factors:
      beam_size: [1, 4]                        # a keyword of the task, and its levels
      direction:                               # or levels by name, each with keywords of its own
        de-en: {model: ..., test: [...]}
        en-de: {model: ..., test: [...]}
    fixed: {threads: 1}
    repeats: 10

A treatment is one level of each factor, a cell one run of a treatment. Each repeat is a block: it holds every treatment
once, in an order of its own that the seed gives (randomised complete blocks), so that a machine that warms up or slows
down meets all treatments alike. docs/study.md has every key.
"""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distilmt.bill.rates import Rates
from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError
from distilmt.interface.config import checked, places, resolve
from distilmt.interface.values import convert
from distilmt.state.stage import hash_of
from distilmt.state.storage import plain
from distilmt.study import noise
from distilmt.study.decode import OUTCOMES, DecodeTask
from distilmt.study.distill import DistillTask
from distilmt.study.measure import METERED, MODELLED

TASKS: dict[str, type] = {"decode": DecodeTask, "distill": DistillTask}
COLUMNS = (  # of the table, beside factors and outcomes, which need other names
    "block", "position", "status", "passes", "timed_seconds", "energy_kind", "energy_method", "wall_seconds", "attempts",
    "host", "began", "error", "cell", "kwh", "co2e_kg", "money", *MODELLED, *noise.COLUMNS,
)  # fmt: skip
MOST_CONTRASTS = 5
_SCALAR = int | float | bool | str


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Keys of a study file."""

    name: str = field(metadata={"help": "title of the report"})
    out: str = field(metadata={"help": "folder of the study"})
    task: str = field(metadata={"help": "decode, distill, or MODULE:FUNCTION"})
    factors: Any = field(default_factory=dict, metadata={"help": "levels by factor"})
    fixed: Any = field(default_factory=dict, metadata={"help": "keywords of the task that are equal in all cells"})
    like: str | None = field(
        default=None, metadata={"help": "a study file beside this one: its `fixed`, where not set here"}
    )
    repeats: int = field(default=5, metadata={"help": "blocks: each holds every treatment once"})
    seed: int = field(default=1, metadata={"help": "of the order within the blocks"})
    warm_up: int = field(default=1, metadata={"help": "untimed passes before the timed ones"})
    cool_down: float = field(default=5.0, metadata={"help": "idle seconds before each cell"})
    min_seconds: float = field(default=30.0, metadata={"help": "work is repeated until the timed region lasts so long"})
    parallel: int = field(default=1, metadata={"help": "cells side by side, where quality and not time is compared"})
    max_seconds: float | None = field(default=None, metadata={"help": "a cell that takes longer is ended and failed"})
    outcomes: tuple[str, ...] = field(default=(), metadata={"help": "columns the report shows, the first ones plotted"})
    contrasts: Any = field(default=(), metadata={"help": "at most five comparisons, named before the run"})
    model_watts: tuple[float, float] | None = field(default=None, metadata={"help": "of processors, idle and full"})
    metering: EnergyOptions = field(default_factory=EnergyOptions)
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        for key, least in (("repeats", 1), ("parallel", 1), ("warm_up", 0), ("cool_down", 0), ("min_seconds", 0)):
            if not least <= getattr(self, key) < float("inf"):
                raise ConfigError(f"{key} must be {least} or more, got {getattr(self, key)}")
        if self.model_watts is not None and not 0 <= self.model_watts[0] <= self.model_watts[1] < float("inf"):
            raise ConfigError(f"model_watts must be two watts, the lower one first, got {self.model_watts}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ConfigError(f"max_seconds must be positive, got {self.max_seconds}")
        if self.task not in TASKS and ":" not in self.task:
            raise ConfigError(f"task must be decode, distill, or a function as MODULE:FUNCTION, got {self.task!r}")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One entry of `contrasts`: levels of a factor, first minus second, over the mean of the other factors."""

    outcome: str = field(metadata={"help": "a column of outcomes"})
    factor: str = field(metadata={"help": "whose levels are compared"})
    pairs: tuple[tuple[str, str], ...] = field(metadata={"help": "pairs of levels"})
    test: Literal["paired-t", "wilcoxon", "welch", "mann-whitney", "sentences"] = field(
        default="paired-t", metadata={"help": "in pairs of blocks, of independent runs, or of sentences and seeds"}
    )

    def __post_init__(self) -> None:
        if self.test == "sentences" and self.outcome.partition("_")[0] not in ("bleu", "chrf"):
            raise ConfigError(f"test sentences is of bleu or chrf, or of bleu_NAME or chrf_NAME, got {self.outcome!r}")

    @property
    def text_name(self) -> str:
        """Of a test over sentences, which of `further` it is of; empty: of `test`, or another kind of test."""
        return self.outcome.partition("_")[2] if self.test == "sentences" else ""


@dataclass(frozen=True)
class Cell:
    """One run of a treatment.

    block: from 1; position: in the block's order, from 1; levels: their names by factor; settings: keywords of the task.
    """

    block: int
    position: int
    levels: dict[str, str]
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        """Names its files: block and treatment."""
        return f"{self.block:03d}-{file_name(self.treatment)}"

    @property
    def treatment(self) -> str:
        """Its levels as one text, equal in all blocks."""
        return treatment_name(self.levels)


@dataclass(frozen=True)
class Study:
    """A checked study file.

    Attributes:
        config: as it was written.
        levels: names of the levels by factor, in the file's order.
        treatments: (levels, settings) of every treatment.
        contrasts: planned comparisons, at most five in all.
        path: folders where MODULE of a task is looked for.
    """

    config: StudyConfig
    levels: dict[str, list[str]]
    treatments: list[tuple[dict[str, str], dict[str, Any]]]
    contrasts: list[Planned]
    path: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where the study's files are."""
        return Path(self.config.out)

    def cells(self) -> list[Cell]:
        """Every cell in the order of the run. A `distill` without a seed takes the number of its block as seed."""
        found = []
        for block in range(1, self.config.repeats + 1):
            order = list(self.treatments)
            random.Random(f"{self.config.seed} {block}").shuffle(order)
            for position, (levels, settings) in enumerate(order, 1):
                own = {"training.seed": block} if self.config.task == "distill" else {}
                found.append(Cell(block, position, levels, own | settings))
        return found

    def record(self) -> dict[str, Any]:
        """What a later run of the file is compared with, as plain data; what only the report reads may change at any time."""
        keys = ("task", "seed", "warm_up", "cool_down", "min_seconds", "max_seconds", "repeats")
        values = {key: getattr(self.config, key) for key in keys}
        values |= {"metering": vars(self.config.metering), "contrasts": [vars(each) for each in self.contrasts]}
        levels = {name: dict.fromkeys(names, True) for name, names in self.levels.items()}
        treatments = {treatment_name(levels): settings for levels, settings in self.treatments}
        return dict(plain(values | {"factors": levels, "treatments": treatments}))


Source = str | os.PathLike[str] | Mapping[str, Any] | StudyConfig | Study  # what `read` takes


def read(source: Source) -> Study:
    """Reads and checks a study: a YAML file, or its keys as a mapping.

    Raises:
        ConfigError: what is wrong, with `FILE:LINE` in front where it stands in a file.
    """
    if isinstance(source, Study):
        return source
    is_file = isinstance(source, (str, os.PathLike))
    start: Any = Path(source) if is_file else source  # type: ignore[arg-type]
    config = resolve(StudyConfig, start)
    lines = places(source) if is_file else {}  # type: ignore[arg-type]

    def where(key: str) -> str:
        return f"{source}:{lines[key]}: " if key in lines else f"{source}: " if is_file else ""

    factors = _factors(config, where)
    fixed = [(where(f"fixed.{key}") + "fixed.", key, value) for key, value in _mapping(config.fixed, "fixed", where)]
    for name in factors:
        if name in dict(_mapping(config.fixed, "fixed", where)):
            raise ConfigError(f"{where(f'fixed.{name}')}fixed.{name}: is a factor too - keep one")
    base = _like(config, Path(source) if is_file else Path())  # type: ignore[arg-type]
    treatments = []
    for chosen in itertools.product(*(list(levels.items()) for levels in factors.values())):
        given = list(fixed)
        for factor, (level, own) in zip(factors, chosen, strict=True):
            place = where(f"factors.{factor}.{level}") or where(f"factors.{factor}")
            if not isinstance(own, Mapping):
                given.append((f"{where(f'factors.{factor}')}factors.", factor, own))
            else:
                given += [(f"{place}factors.{factor}.{level}.", str(key), item) for key, item in own.items()]
        given += [each for each in base if each[1] not in {key for _, key, _ in given}]
        levels = dict(zip(factors, (level for level, _ in chosen), strict=True))
        treatments.append((levels, _settings(config.task, given, bool(is_file))))
    path = (*((str(Path(source).resolve().parent),) if is_file else ()), os.getcwd())  # type: ignore[arg-type]
    levels_by_factor = {name: list(levels) for name, levels in factors.items()}
    contrasts = _planned(config.contrasts, levels_by_factor, where("contrasts"), bool(is_file))
    for one in contrasts:
        if one.text_name and any(one.text_name not in settings.get("further", {}) for _, settings in treatments):
            raise ConfigError(f"{where('contrasts')}contrasts: {one.outcome}: name {one.text_name!r} in `further`")
    return Study(config, levels_by_factor, treatments, contrasts, path)


def _like(config: StudyConfig, here: Path) -> list[tuple[str, str, Any]]:
    """What another file fixes: (place, key, value)."""
    if config.like is None:
        return []
    path = here.parent / config.like
    other, lines = resolve(StudyConfig, path), places(path)
    return [
        (f"{path}:{lines.get(f'fixed.{key}', 0)}: fixed.", key, value)
        for key, value in _mapping(other.fixed, "fixed", lambda key: f"{path}: ")
    ]


def treatment_name(levels: Mapping[str, str]) -> str:
    return ",".join(f"{factor}={level}" for factor, level in levels.items()) or "all"


def file_name(text: str) -> str:
    """A text where it can name a file, and else a readable part of it with a hash."""
    safe = re.sub(r"[^\w.+=,-]+", "_", text, flags=re.ASCII)[:100]
    return text if safe == text else f"{safe}-{hash_of(text)[:8]}"


def _factors(config: StudyConfig, where: Any) -> dict[str, dict[str, Any]]:
    """What each level sets: for a list the value of the keyword, for named levels a mapping of keywords."""
    factors: dict[str, dict[str, Any]] = {}
    taken = {*COLUMNS, *METERED, *(OUTCOMES if config.task in TASKS else ())}
    for name, given in _mapping(config.factors, "factors", where):
        at = f"{where(f'factors.{name}')}factors.{name}: "
        if name in taken:
            raise ConfigError(f"{at}is the name of a column of the table - choose another")
        if isinstance(given, Mapping):
            factors[name] = {
                str(level): dict(_mapping(own, f"factors.{name}.{level}", where)) for level, own in given.items()
            }
        elif isinstance(given, (list, tuple)):
            named = [level_name(value) for value in given]
            if len(set(named)) < len(named):
                raise ConfigError(f"{at}a level is given twice - keep one of {', '.join(named)}")
            factors[name] = dict(zip(named, given, strict=True))
        else:
            raise ConfigError(f"{at}must be a list of levels, or levels by name, got {given!r}")
        if len(factors[name]) < 2:
            raise ConfigError(
                f"{at}has {len(factors[name])} level - a factor needs two; what does not vary goes to `fixed`"
            )
    return factors


def level_name(value: Any) -> str:
    """A level as the table writes it."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(level_name, value))
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _planned(given: Any, levels: dict[str, list[str]], where: str, text: bool) -> list[Planned]:
    if not isinstance(given, (list, tuple)):
        raise ConfigError(f"{where}contrasts: must be a list of comparisons, got {given!r}")
    planned: list[Planned] = []
    at = f"{where}contrasts: "
    for entry in given:
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{where}contrasts: must hold `outcome`, `factor` and `pairs`, got {entry!r}")
        # Levels are names: a 4 of Python and a "4" of YAML are one.
        items = [(f"{where}contrasts.", str(key), _names(value)) for key, value in entry.items()]
        try:
            one = Planned(**checked(Planned, items, text=text))
        except ConfigError as error:  # a key that is missing has no place of its own
            said = str(error)
            raise ConfigError(said if said.startswith(f"{where}contrasts") else f"{at}{said}") from None
        planned.append(one)
        if one.factor not in levels:
            raise ConfigError(f"{where}contrasts: no factor {one.factor!r} - there are {', '.join(levels) or 'none'}")
        for level in (level for pair in one.pairs for level in pair):
            if level not in levels[one.factor]:
                known = ", ".join(levels[one.factor])
                raise ConfigError(f"{where}contrasts: {one.factor} has no level {level!r} - it has {known}")
    if (count := sum(len(one.pairs) for one in planned)) > MOST_CONTRASTS:
        raise ConfigError(
            f"{where}contrasts: at most {MOST_CONTRASTS} comparisons, got {count} - with many comparisons and few blocks "
            "nothing can be significant; name those that the study is for"
        )
    seen = set()
    for one in planned:
        if not one.pairs:
            raise ConfigError(
                f"{at}no pairs of {one.factor} - name some, as in [[{', '.join(levels[one.factor][:2])}]]"
            )
        for pair in one.pairs:
            if pair[0] == pair[1]:
                raise ConfigError(f"{at}compares {pair[0]!r} of {one.factor} with itself")
            if (key := (one.outcome, one.factor, one.test, frozenset(pair))) in seen:
                raise ConfigError(f"{at}{one.outcome} of {' and '.join(pair)} is compared twice - keep one")
            seen.add(key)
    return planned


def _names(value: Any) -> Any:
    return [_names(item) for item in value] if isinstance(value, (list, tuple)) else level_name(value)


def _mapping(value: Any, key: str, where: Any) -> list[tuple[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where(key)}{key}: must be `key: value` lines, got {value!r}")
    return [(str(name), item) for name, item in value.items()]


def _settings(task: str, given: list[tuple[str, str, Any]], text: bool) -> dict[str, Any]:
    """The keywords of one treatment, each in the type that the task asks for."""
    if task in TASKS:
        return checked(TASKS[task], given, text=text)
    settings: dict[str, Any] = {}
    for place, name, value in given:
        if name in settings:
            raise ConfigError(f"{place}{name}: given twice - two factors, or a factor and `fixed`, set it")
        settings[name] = _typed(value) if text else value
    return settings


def _typed(value: Any) -> Any:
    """What a person typed, for a function whose types are not known: a number where it reads as one."""
    if isinstance(value, (list, tuple)):
        return [_typed(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _typed(item) for key, item in value.items()}
    return None if value is None else convert(value, _SCALAR, text=True)
