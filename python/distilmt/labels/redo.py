"""`distilmt labels redo`: labels some lines once more with other options; what was there is kept beneath.

    redo/1/   a generation: manifest.json (which lines, with what), and leases, segments and done records of its own

A line's label is that of the last finished generation that holds it. Every generation stays, so each label's provenance can be
told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from distilmt.compute_type import ComputeType
from distilmt.config import resolve
from distilmt.errors import ConfigError
from distilmt.label import LabelConfig, Labels, folder_of
from distilmt.labels.job import carry_out, read_texts
from distilmt.labels.manifest import describe, read_manifest
from distilmt.labels.merge import Stored, merged_records, read_redo
from distilmt.labels.records import VERDICTS
from distilmt.labels.worker import Work
from distilmt.stage import differences
from distilmt.storage import create_bytes, disk_errors, plain, read_json

_SEARCH = ("beam_size", "length_penalty", "max_length", "patience", "repetition_penalty", "no_repeat_ngram_size")
_OTHER = ("too_long", "compute_type", "workers", "threads", "model", "source", "target")


@dataclass(frozen=True, kw_only=True)
class RedoConfig:
    """Options of `distilmt labels redo`; what is not given stays as it was."""

    labels: str = field(metadata={"help": "folder of a finished `distilmt label`"})
    where: str = field(metadata={"help": "which lines: status=VERDICT[,VERDICT...]", "metavar": "CONDITION"})
    beam_size: int | None = field(default=None, metadata={"help": "hypotheses followed at a time"})
    length_penalty: float | None = field(default=None, metadata={"help": "scores are divided by length to this power"})
    max_length: int | None = field(default=None, metadata={"help": "longest translation in tokens"})
    patience: float | None = field(default=None, metadata={"help": "finished hypotheses searched for, by beam size"})
    repetition_penalty: float | None = field(default=None, metadata={"help": "above 1: against words that stand there"})
    no_repeat_ngram_size: int | None = field(default=None, metadata={"help": "no n-gram of this size twice"})
    too_long: Literal["skip", "truncate", "split"] | None = field(
        default=None, metadata={"help": "what to do with a line of more tokens than the model has positions"}
    )
    compute_type: ComputeType | None = field(default=None, metadata={"help": "numbers that matrix products work on"})
    workers: int | None = field(default=None, metadata={"help": "processes that share the work on this machine"})
    threads: int | None = field(default=None, metadata={"help": "threads of all workers together"})
    model: str | None = field(default=None, metadata={"help": "where the teacher lies now, or another teacher"})
    source: str | None = field(default=None, metadata={"help": "where the source text lies now"})
    target: str | None = field(default=None, metadata={"help": "where the gold translations lie now"})

    def verdicts(self) -> set[str]:
        """The verdicts of `where`."""
        key, equals, names = self.where.partition("=")
        found = {name.strip() for name in names.split(",")}
        if key.strip() != "status" or not equals or not found <= set(VERDICTS):
            raise ConfigError(f"--where must be status=VERDICT, of {', '.join(VERDICTS)}, got {self.where!r}")
        return found


def redo(config: RedoConfig | None = None, **options: Any) -> Labels | str | None:
    """Labels the lines of some verdicts once more with other options, and merges them over what was there.

    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(RedoConfig, config, **options)
    folder, verdicts = Path(config.labels), config.verdicts()
    given = {name: value for name in (*_SEARCH, *_OTHER) if (value := getattr(config, name)) is not None}
    read_manifest(folder)  # that it is a job at all
    recorded = read_json(folder / "job.json", "run the same `distilmt label` again")
    asked = resolve(LabelConfig, resolve(LabelConfig, recorded), **given, out=str(folder), shard=None)
    text, target = read_texts(asked)
    stored = Stored(folder)
    same = {"source": {"sha256": text.sha256, "lines": text.lines}, "target": target and {"sha256": target.sha256}}
    was = stored.manifest["target"]
    before = {"source": stored.manifest["source"], "target": was and {"sha256": was["sha256"]}}
    if changed := differences(before, same):
        raise ConfigError(f"{folder}: these are other texts than the labels are of:\n" + "\n".join(changed))
    number = len(stored.redone) + 1
    generation = folder / "redo" / str(number)
    manifest = describe(asked, folder_of(asked.model), text, target) | {
        "base": stored.job.hex(), "generation": number, "where": sorted(verdicts),
    }  # fmt: skip
    if (generation / "manifest.json").exists():  # begun before and not finished
        begun, _ = read_redo(generation)
        if lines := differences(begun | {"lines": None}, manifest | {"lines": None}):
            raise ConfigError(
                f"{generation}: was begun with other options and is unfinished - finish it with the same command, or delete "
                "it:\n" + "\n".join(lines)
            )
    else:
        chosen: dict[str, list[int]] = {}
        for record in merged_records(folder):
            if record.verdict in verdicts:
                chosen.setdefault(str((record.line - 1) // stored.shard_lines), []).append(record.line)
        if not chosen:
            return f"{folder}: no line has the verdict {' or '.join(sorted(verdicts))}"
        with disk_errors(generation):
            generation.mkdir(parents=True, exist_ok=True)
        data = json.dumps(plain(manifest | {"lines": chosen}), indent=1, sort_keys=True) + "\n"
        create_bytes(generation / "manifest.json", data.encode("ascii"))
    begun, identity = read_redo(generation)
    lines_of = {int(shard): numbers for shard, numbers in begun["lines"].items()}
    job = Work(str(generation), identity.hex(), text, target, replace(asked, new_run=False), lines_of)
    return carry_out(job, folder, redone=True)
