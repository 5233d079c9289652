"""`distilmt split`: random, disjoint, reproducible train, dev and test parts of a line-aligned corpus.

Pairs that share a sentence on either side, up to case, punctuation and blanks, form a group (connected components). A
group goes into one part whole: no dev or test sentence occurs in train, and no pair is lost.
"""

from __future__ import annotations

import hashlib
import os
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distilmt.corpus import OK, load_corpus
from distilmt.errors import ConfigError, DataError
from distilmt.text.files import COMPRESSED, StrPath, write_lines


@dataclass
class Split:
    """What was written: pairs of each part, groups of pairs that share sentences, and lines left out by status."""

    files: dict[str, tuple[str, str]]  # part -> (source, target)
    train: int
    dev: int
    test: int
    groups: int
    left_out: dict[str, int]
    notes: list[str]

    def __str__(self) -> str:
        parts = (("train", self.train), ("dev", self.dev), ("test", self.test))
        lines = [f"{name}: {count:,} pairs in {' '.join(self.files[name])}" for name, count in parts]
        left = ", ".join(f"{count:,} {status}" for status, count in self.left_out.items()) or "none"
        return "\n".join([*lines, f"{self.groups:,} groups of pairs that share a sentence; lines left out: {left}"])


class _Fold(dict[int, str]):
    """For str.translate: punctuation, symbols, blanks and controls become a blank; filled as characters turn up."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = " " if unicodedata.category(character)[0] in "PSZC" else character
        return self[code]


_FOLD = _Fold()


def normalised(sentence: str) -> str:
    """The sentence as the overlap test sees it: NFKC, case folded, words alone; one without any word stays as it is."""
    folded = unicodedata.normalize("NFKC", sentence).casefold().translate(_FOLD)
    return " ".join(folded.split()) or sentence


def split(source: StrPath, target: StrPath, *, dev: int, test: int, seed: int = 1, out: StrPath) -> Split:
    """Cuts a corpus into train, dev and test, and writes each as two files named by the inputs' suffixes.

    Args:
        source: Source side, and target the other: plain, `.gz`, `.xz` or `.zst`, or two columns `hf:NAME:SPLIT:COLUMN`.
        dev: Pairs in dev; exactly as many are written.
        test: Pairs in test.
        seed: The same seed, files and numbers give the same bytes.
        out: Folder for `train.de`, `train.en`, `dev.de`, ...; made if need be.

    Returns:
        Counts and names; its str() is the summary.

    Raises:
        ConfigError: A number below 0, or an output that is an input.
        DataError: Not enough pairs of different sentences, or what `load_corpus` raises. Nothing is written.
    """
    if dev < 0 or test < 0:
        raise ConfigError(f"split: dev and test need 0 pairs or more, got {dev} and {test}")
    suffixes = _suffixes(source, target)
    folder = Path(out)
    files = {part: tuple(str(folder / (part + suffix)) for suffix in suffixes) for part in ("train", "dev", "test")}
    inputs = {os.path.realpath(source), os.path.realpath(target)}
    for path in (path for both in files.values() for path in both):
        if os.path.realpath(path) in inputs:
            raise ConfigError(f"{path}: the split would overwrite its own input - choose another folder")
    corpus = load_corpus((source, target))
    pairs = list(corpus.pairs())
    groups = _groups(pairs)
    part_of = _assign(groups, {"dev": dev, "test": test}, seed, len(pairs))
    corpus.verify_unchanged()
    folder.mkdir(parents=True, exist_ok=True)
    for part, both in files.items():
        for side, path in enumerate(both, 1):
            write_lines(path, _lines(pairs, part_of, part, side))
    counts = corpus.counts()
    return Split(
        files={part: (both[0], both[1]) for part, both in files.items()},
        train=len(pairs) - dev - test,
        dev=dev,
        test=test,
        groups=len(groups),
        left_out={status: n for status, n in counts.items() if n and status not in ("lines", OK)},
        notes=corpus.notes,
    )


def _lines(pairs: list[tuple[int, str, str]], part_of: list[str], part: str, side: int) -> Iterator[str]:
    for pair, its_part in zip(pairs, part_of, strict=True):
        if its_part == part:
            yield str(pair[side])


def _suffixes(source: StrPath, target: StrPath) -> tuple[str, str]:
    """`.de` and `.en.gz` of `corpus.de` and `corpus.en.gz`; `.source` and `.target` where the names do not tell."""
    names = []
    for path in (Path(os.fspath(text).replace(":", ".")) for text in (source, target)):  # hf:NAME:SPLIT:de ends in .de
        packed = path.suffix if path.suffix in COMPRESSED else ""
        names.append((path.with_suffix("").suffix if packed else path.suffix, packed))
    (left, left_packed), (right, right_packed) = names
    if not left or not right or left == right:
        left, right = ".source", ".target"
    return left + left_packed, right + right_packed


def _groups(pairs: list[tuple[int, str, str]]) -> list[list[int]]:
    """Connected components of pairs that share a normalised sentence, by union-find, in order of first pairs."""
    parent = list(range(len(pairs)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    # Eight bytes for a sentence: the rare two that collide are kept together, which harms nothing.
    seen: dict[bytes, int] = {}
    for i, (_, *sides) in enumerate(pairs):
        for side, sentence in enumerate(sides):
            key = hashlib.blake2b(f"{side}{normalised(sentence)}".encode(), digest_size=8).digest()
            first, other = root(seen.setdefault(key, i)), root(i)
            parent[max(first, other)] = min(first, other)  # a root is the first pair of its group
    members: dict[int, list[int]] = {}
    for i in range(len(pairs)):
        members.setdefault(root(i), []).append(i)
    return list(members.values())


def _assign(groups: list[list[int]], wanted: dict[str, int], seed: int, pairs: int) -> list[str]:
    """The part of each pair: groups in random order fill dev, then test, where they fit whole; train has the rest."""
    # Python promises the sequence of random() for a seed, not that of shuffle().
    rng = random.Random(seed)
    order = sorted(range(len(groups)), key=[rng.random() for _ in groups].__getitem__)
    part_of = ["train"] * pairs
    missing = dict(wanted)
    for index in order:
        group = groups[index]
        part = next((part for part, count in missing.items() if len(group) <= count), None)
        if part is None:
            continue
        missing[part] -= len(group)
        for i in group:
            part_of[i] = part
    if any(missing.values()) or "train" not in part_of:
        raise DataError(
            f"split: {pairs} pairs in {len(groups)} groups that share no sentence do not give dev {wanted['dev']}, "
            f"test {wanted['test']} and a train part - ask for fewer, or give more text"
        )
    return part_of
