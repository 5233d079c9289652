"""Directions of a multilingual training: what each learns from and from whom; and what a trained student knows of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.state.storage import read_json, write_json

NAME = re.compile(r"(\w+)-(\w+)")
KNOWN = (
    "directions.json"  # in the folder of a student: the directions it learnt, and whether its sources begin with a tag
)


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One direction; its name is SOURCE-TARGET, as in de-en."""

    train: tuple[str, ...] = field(
        metadata={"help": "source and target text, or source text alone for the teacher to label"}
    )
    dev: tuple[str, str] = field(metadata={"help": "text that the switch and the choice of the checkpoint look at"})
    test: tuple[tuple[str, str], ...] = field(default=(), metadata={"help": "test sets"})
    teacher: str | None = field(default=None, metadata={"help": "its teacher, a folder or hub name"})
    level: Literal["auto", "word", "sequence"] = field(
        default="auto", metadata={"help": "word where teacher and student have one vocabulary, else sequence"}
    )
    teacher_source_language: str | None = field(default=None, metadata={"help": "as the teacher's tokenizer names it"})
    teacher_target_language: str | None = field(default=None, metadata={"help": "as the teacher's tokenizer names it"})
    group: str = field(default="", metadata={"help": "with --groups given: the student that learns it"})

    def __post_init__(self) -> None:
        if len(self.train) not in (1, 2):
            raise ConfigError(f"train: source and target text, or source text alone, got {len(self.train)} files")
        if self.teacher is None and (len(self.train) == 1 or self.level != "auto"):
            what = "source text alone needs" if len(self.train) == 1 else f"level {self.level} needs"
            raise ConfigError(f"train: {what} a teacher - name it by `teacher:`")


def read_directions(given: Any) -> dict[str, Direction]:
    """Checks the mapping of a configuration.

    Raises: ConfigError: no mapping, a name that is none, a key that is unknown or missing.
    """
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(
            "directions: a mapping, as in `directions: {de-en: {train: [a.de, a.en], dev: [d.de, d.en]}}`"
        )
    found = {}
    for name, keys in given.items():
        if not NAME.fullmatch(str(name)) or not isinstance(keys, Mapping | Direction):
            raise ConfigError(
                f"directions.{name}: must be SOURCE-TARGET with its keys, as in de-en: {{train: ..., dev: ...}}"
            )
        try:
            found[str(name)] = resolve(Direction, keys)
        except ConfigError as error:
            raise ConfigError(f"directions.{name}: {error}") from None
    return found


def target_of(name: str) -> str:
    """Target language of a direction: `en` of de-en."""
    return name.split("-")[1]


def write_known(folder: Path, names: list[str], tagged: bool) -> None:
    """Writes beside a student what it learnt."""
    write_json(folder / KNOWN, {"directions": names, "tagged": tagged})


def known(folder: Path) -> tuple[list[str], bool]:
    """What a model learnt: names of directions, and whether sources begin with a tag; ([], False) of a bilingual one."""
    if not (folder / KNOWN).exists():
        return [], False
    found = read_json(folder / KNOWN, "copy the whole folder of the student")
    return list(found.get("directions", [])), bool(found.get("tagged"))
