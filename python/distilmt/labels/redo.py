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

from distilmt.errors import ConfigError, DataError
from distilmt.interface.config import resolve
from distilmt.label import LabelConfig, Labels
from distilmt.labels.job import carry_out, read_texts
from distilmt.labels.manifest import describe, read_manifest, teacher_hashes
from distilmt.labels.merge import Damaged, Stored, merged_records, proven_segment, read_redo, redo_folders
from distilmt.labels.proof import proven
from distilmt.labels.records import VERDICTS
from distilmt.labels.shards import Shards
from distilmt.labels.source import Text
from distilmt.labels.worker import Work
from distilmt.state.stage import differences
from distilmt.state.storage import create_bytes, disk_errors, plain, read_json
from distilmt.translator.compute_type import ComputeType
from distilmt.translator.model_options import folder_of

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
    manifest = describe(asked, folder_of(asked.model), text, target) | {
        "base": stored.job.hex(), "where": sorted(verdicts),
    }  # fmt: skip
    _refuse_other_teacher(config, asked, stored, manifest)
    generation = _broken_off(stored)
    if generation is None:
        merged = _whole(folder)
        if merged is None:
            was_labelled = resolve(LabelConfig, recorded)
            if manifest["model"] == stored.manifest["model"]:  # it may lie elsewhere now
                was_labelled = replace(was_labelled, model=asked.model)
            merged = _merge(stored, was_labelled, text, target)
            newest = redo_folders(folder)[-1:]
            if stored.redone and newest and not _differences(newest[0], manifest):
                return merged  # what this command began was done, but for the merge
        chosen: dict[str, list[int]] = {}
        for record in merged_records(folder):
            if record.verdict in verdicts:
                chosen.setdefault(str((record.line - 1) // stored.shard_lines), []).append(record.line)
        if not chosen:
            return f"{folder}: no line has the verdict {' or '.join(sorted(verdicts))}"
        number = max((int(path.name) for path in redo_folders(folder)), default=0) + 1
        generation = folder / "redo" / str(number)
        with disk_errors(generation):
            generation.mkdir(parents=True, exist_ok=True)
        data = json.dumps(plain(manifest | {"generation": number, "lines": chosen}), indent=1, sort_keys=True) + "\n"
        create_bytes(generation / "manifest.json", data.encode("ascii"))
    if lines := _differences(generation, manifest):  # broken off, or begun by another process a moment ago
        raise ConfigError(
            f"{generation}: was begun with other options and is unfinished - finish it with the same command, or delete "
            "it:\n" + "\n".join(lines)
        )
    begun, identity = read_redo(generation)
    lines_of = {int(shard): numbers for shard, numbers in begun["lines"].items()}
    job = Work(str(generation), identity.hex(), text, target, replace(asked, new_run=False), lines_of)
    return carry_out(job, folder)


def _refuse_other_teacher(config: RedoConfig, asked: LabelConfig, stored: Stored, manifest: dict[str, Any]) -> None:
    """Raises ConfigError where the teacher is another, and that was not asked for or cannot be."""
    if not (changed := differences({"model": stored.manifest["model"]}, {"model": manifest["model"]})):
        return
    if stored.stores:
        why = "soft labels are bound to one teacher, and this is another: name the one the labels are from with --model"
    elif config.model is None:
        why = "its files are not those the labels are from: if it is to redo the lines, name it with --model"
    else:
        return
    raise ConfigError(f"{asked.model}: {why}\n" + "\n".join(changed))


def _broken_off(stored: Stored) -> Path | None:
    """The first generation that is not done to its end, or whose records are damaged."""
    for folder in redo_folders(stored.folder):
        manifest, job = read_redo(folder)
        shards = Shards(folder, job, stored.base.count, 60.0)
        try:
            for shard, lines in manifest["lines"].items() if manifest["base"] == stored.job.hex() else ():
                proven_segment(shards, int(shard), len(lines))
        except Damaged:
            return folder
    return None


def _differences(generation: Path, manifest: dict[str, Any]) -> list[str]:
    begun, _ = read_redo(generation)
    same = {"lines": None, "generation": None}
    return differences(begun | same, manifest | same)


def _whole(folder: Path) -> Labels | None:
    """The results, where they and the records are sound."""
    try:
        return proven(folder, segments=True)
    except Damaged:
        return None


def _merge(stored: Stored, config: LabelConfig, text: Text, target: Text | None) -> Labels | None:
    """Merges what a process was killed before it could, and labels damaged shards anew.

    Raises: DataError: shards are missing. ConfigError: the teacher is another.
    """
    if missing := stored.unfinished():
        raise DataError(
            f"{stored.folder}: {missing} shards are still to be labelled - run the same `distilmt label` again"
        )
    teacher = {"model": teacher_hashes(folder_of(config.model), config.asked)}
    if changed := differences({"model": stored.manifest["model"]}, teacher):
        raise ConfigError(
            f"{stored.folder}: has to be merged again, and {config.model} is another teacher than the labels are from - put "
            "it back and run the same `distilmt label` again:\n" + "\n".join(changed)
        )
    config = replace(config, out=str(stored.folder), shard=None, new_run=False)
    return carry_out(Work(str(stored.folder), stored.job.hex(), text, target, config), stored.folder)
