"""Line-aligned corpora: pairs keep their line numbers, nothing is dropped in silence, all checks come before any work.

A pair is `ok`, `empty_source`, `empty_target` or `quarantined`; only `ok` pairs take part in training. Cases 1 to 18 of
the list of faults (tests/test_faults_text.py) say what is an error and what is quarantined.
"""

from __future__ import annotations

import hashlib
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from distilmt.errors import ConfigError, DataError
from distilmt.text.alignment import require_aligned
from distilmt.text.dataset import is_column, parse_column, read_columns
from distilmt.text.files import FileFacts, StrPath, file_facts, file_hash, language_of, open_text, write_lines
from distilmt.text.lines import MAX_LINE_BYTES, Line, OnInvalidUtf8, classify, read_lines

__all__ = [
    "MAX_LINE_BYTES",
    "Corpus",
    "Line",
    "Pair",
    "Quarantined",
    "file_hash",
    "load_corpus",
    "load_dataset_corpus",
    "open_text",
    "read_lines",
    "read_pairs",
    "read_tsv",
    "write_lines",
    "write_quarantine",
]

OK, EMPTY_SOURCE, EMPTY_TARGET, QUARANTINED = "ok", "empty_source", "empty_target", "quarantined"
SHOWN = 5  # quarantined lines that the notes name one by one; the side file has all


class Pair(NamedTuple):
    """One line of both sides.

    Attributes:
        number: of the line, from 1.
        source, target: text; empty where it cannot be used.
        status: ok, empty_source, empty_target or quarantined; `reason` says why.
        raw: a quarantined row of a TSV file as it stood there.
    """

    number: int
    source: str
    target: str
    status: str
    reason: str = ""
    raw: bytes = b""


class Quarantined(NamedTuple):
    """A line that cannot be used: of the file `path`, counted by `number` from 1, for this `reason`, `raw` as it stood there."""

    path: str
    number: int
    reason: str
    raw: bytes


@dataclass
class Corpus:
    """A corpus in memory, and where it came from.

    Attributes:
        sources, targets, statuses: one entry per line; statuses as of `Pair`.
        source_hash, target_hash: SHA-256 (hex) of the uncompressed bytes.
        notes: what a user should know, as sentences; the command line prints them.
        quarantined: the lines that cannot be used.
        files: what was read, to be compared by `verify_unchanged`.
    """

    sources: list[str]
    targets: list[str]
    statuses: list[str]
    source_hash: str
    target_hash: str
    notes: list[str] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    files: list[FileFacts] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.statuses)

    @property
    def target_language(self) -> str:
        """What the name of the target file ends in; empty where there is no such file."""
        return language_of(self.files[1].path) if len(self.files) == 2 else ""

    def pairs(self) -> Iterator[tuple[int, str, str]]:
        """The pairs that take part: (index from 0, source, target)."""
        for index, status in enumerate(self.statuses):
            if status == OK:
                yield index, self.sources[index], self.targets[index]

    def counts(self) -> dict[str, int]:
        """Lines in all, and by status; every line has exactly one."""
        by_status = Counter(self.statuses)
        return {"lines": len(self)} | {name: by_status[name] for name in (OK, EMPTY_SOURCE, EMPTY_TARGET, QUARANTINED)}

    def verify_unchanged(self) -> None:
        """Raises DataError where a file this corpus was read from has changed since."""
        for facts in self.files:
            facts.verify_unchanged()


def read_pairs(
    source: StrPath,
    target: StrPath,
    *,
    on_invalid_utf8: OnInvalidUtf8 = "error",
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Pair]:
    """Streams two line-aligned files in bounded memory; both are read once before, so that nothing starts on bad text.

    Args:
        source, target: as of `read_lines`, whose other arguments these are too.
    Raises:
        DataError: Line counts differ, or what `read_lines` raises.
    """
    options: dict[str, Any] = {"on_invalid_utf8": on_invalid_utf8, "max_line_bytes": max_line_bytes}
    checked = [file_facts(source), file_facts(target)]
    lengths = [array("I", (len(line.text) for line in read_lines(f.path, facts=f, **options))) for f in checked]
    require_aligned(source, target, *lengths)
    return _zip_pairs(read_lines(source, **options), read_lines(target, **options), checked)


def _zip_pairs(sources: Iterator[Line], targets: Iterator[Line], checked: list[FileFacts]) -> Iterator[Pair]:
    for facts in checked:
        facts.verify_unchanged()
    for source, target in zip(sources, targets, strict=True):
        yield Pair(source.number, source.text, target.text, *_pair_status(source, target))


def _pair_status(source: Line, target: Line) -> tuple[str, str]:
    reasons = [f"{side}: {line.reason}" for side, line in (("source", source), ("target", target)) if line.reason]
    return _status(source.status, target.status), "; ".join(reasons)


def _status(source: str, target: str) -> str:
    if QUARANTINED in (source, target):
        return QUARANTINED
    if source == "empty":
        return EMPTY_SOURCE
    return EMPTY_TARGET if target == "empty" else OK


def read_tsv(
    path: StrPath,
    *,
    on_invalid_utf8: OnInvalidUtf8 = "error",
    max_line_bytes: int = MAX_LINE_BYTES,
    facts: FileFacts | None = None,
) -> Iterator[Pair]:
    """Streams pairs from rows of `source<TAB>target`.

    Raises:
        DataError: A row has another number of columns, or what `read_lines` raises.
    """
    options: dict[str, Any] = {"on_invalid_utf8": on_invalid_utf8, "max_line_bytes": max_line_bytes, "facts": facts}
    for line in read_lines(path, **options):
        if line.status == QUARANTINED:
            yield Pair(line.number, "", "", QUARANTINED, line.reason, line.raw)
            continue
        columns = line.text.split("\t")
        if len(columns) != 2:
            raise DataError(
                f"{path}:{line.number}: a row of {len(columns)} columns, expected 2 (source<TAB>target) - "
                "mend the row, or cut the file to its two columns"
            )
        source, target = (Line(line.number, text, *classify(text)) for text in columns)
        yield Pair(line.number, source.text, target.text, *_pair_status(source, target))


def load_corpus(
    paths: StrPath | Sequence[StrPath],
    *,
    on_invalid_utf8: OnInvalidUtf8 = "error",
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Corpus:
    """Reads a corpus into memory and checks all of it before it returns.

    Args:
        paths: Two line-aligned files (source, target), one file of `source<TAB>target` rows, or two columns of a
            Hugging Face dataset, each written `hf:NAME[:CONFIG]:SPLIT:COLUMN` (extra `[datasets]`).
        on_invalid_utf8: As for `read_lines`.
        max_line_bytes: As for `read_lines`.

    Raises:
        DataError: The files differ in line count, hold no usable pair, or what `read_lines` and `read_tsv` raise.
        ConfigError: Not one or two files, or columns of two datasets.
    """
    options: dict[str, Any] = {"on_invalid_utf8": on_invalid_utf8, "max_line_bytes": max_line_bytes}
    if isinstance(paths, str | os.PathLike):
        return _load_tsv(paths, options)
    if len(paths) != 2:
        raise ConfigError(f"corpus: expected a source file and a target file, got {len(paths)} files")
    if any(map(is_column, paths)):
        source, target = map(parse_column, paths)
        if source[:3] != target[:3]:
            raise ConfigError(f"{paths[0]}, {paths[1]}: two datasets or splits - pairs are two columns of the same one")
        return load_dataset_corpus(source.name, source.column, target.column, split=source.split, config=source.config)
    sides: list[tuple[list[str], list[str]]] = []
    corpus = Corpus([], [], [], "", "")
    for path in paths:
        texts: list[str] = []
        statuses: list[str] = []
        facts = file_facts(path)
        for line in read_lines(path, facts=facts, **options):
            texts.append(line.text)
            statuses.append(line.status)
            if line.status == QUARANTINED:
                corpus.quarantined.append(Quarantined(facts.path, line.number, line.reason, line.raw))
        sides.append((texts, statuses))
        corpus.files.append(facts)
    (corpus.sources, source_statuses), (corpus.targets, target_statuses) = sides
    require_aligned(paths[0], paths[1], [len(s) for s in corpus.sources], [len(t) for t in corpus.targets])
    corpus.statuses = [_status(*both) for both in zip(source_statuses, target_statuses, strict=True)]
    corpus.source_hash, corpus.target_hash = (facts.sha256 for facts in corpus.files)
    return _finished(corpus, f"{paths[0]}, {paths[1]}")


def _load_tsv(path: StrPath, options: dict[str, Any]) -> Corpus:
    facts = file_facts(path)
    corpus = Corpus([], [], [], "", "", files=[facts])
    for pair in read_tsv(path, facts=facts, **options):
        corpus.sources.append(pair.source)
        corpus.targets.append(pair.target)
        corpus.statuses.append(pair.status)
        if pair.status == QUARANTINED:
            corpus.quarantined.append(Quarantined(facts.path, pair.number, pair.reason, pair.raw))
    corpus.source_hash, corpus.target_hash = _text_hash(corpus.sources), _text_hash(corpus.targets)
    return _finished(corpus, facts.path)


def load_dataset_corpus(
    name_or_folder: StrPath, source_column: str, target_column: str, *, split: str = "train", config: str | None = None
) -> Corpus:
    """Reads two text columns of a Hugging Face dataset (extra `[datasets]`); arguments as for `dataset.read_columns`.

    Raises:
        ConfigError: `datasets` is not installed, or there is no such split or column.
        DataError: The dataset cannot be loaded, a cell is not text, or no pair can be used.
    """
    name, columns = f"{os.fspath(name_or_folder)}[{split}]", (source_column, target_column)
    sources, targets = read_columns(name_or_folder, columns, split, config)
    corpus = Corpus([], [], [], _text_hash(sources), _text_hash(targets))
    for number, both in enumerate(zip(sources, targets, strict=True), 1):
        statuses = []
        for texts, text, column in zip((corpus.sources, corpus.targets), both, columns, strict=True):
            status, reason = classify(text)
            if status == QUARANTINED:
                corpus.quarantined.append(Quarantined(f"{name}.{column}", number, reason, text.encode()))
            texts.append("" if status == QUARANTINED else text)
            statuses.append(status)
        corpus.statuses.append(_status(*statuses))
    return _finished(corpus, name)


def _text_hash(texts: list[str]) -> str:
    """The hash that a file of these lines would have."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def _finished(corpus: Corpus, name: str) -> Corpus:
    """Collects the notes; a corpus without a usable pair is an error."""
    counts = corpus.counts()
    shown = ", ".join(f"{count} {status}" for status, count in counts.items() if count and status not in ("lines", OK))
    if not counts[OK]:
        raise DataError(f"{name}: no usable pair in {len(corpus)} lines ({shown or 'empty'}) - check the files")
    corpus.notes += [note for facts in corpus.files for note in facts.notes]
    if shown:
        corpus.notes.append(f"{name}: of {len(corpus)} lines, {shown}; they keep their place and take no part")
    for line in corpus.quarantined[:SHOWN]:
        corpus.notes.append(f"{line.path}:{line.number}: quarantined: {line.reason}")
    if len(corpus.quarantined) > SHOWN:
        corpus.notes.append(f"{name}: {len(corpus.quarantined) - SHOWN} more lines are quarantined")
    return corpus


def write_quarantine(path: StrPath, lines: Iterable[Quarantined]) -> None:
    r"""Writes the side file of a quarantine: `file<TAB>line<TAB>reason<TAB>bytes`; bytes that are not text as \xNN."""
    write_lines(path, (f"{line.path}\t{line.number}\t{line.reason}\t{escaped(line.raw)}" for line in lines))


def escaped(raw: bytes) -> str:
    r"""Bytes as one line of readable text; reversible: a backslash is doubled, bytes that are not text become \xNN."""
    text = raw.replace(b"\\", b"\\\\").decode(errors="backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", lambda control: rf"\x{ord(control[0]):02x}", text)
