"""From the segments of all shards to line-aligned files, in source order, with a proof: counts and hashes.

    pseudo.txt     one translation a line, "" where there is none
    statuses.txt   one verdict a line
    nbest.tsv      line, rank from 1, score, text; with --n-best above 1
    soft/ forced/  soft labels of the translations and of the gold targets, line by line (docs/soft-labels.md)
    labels.json    written last: the job is finished

No time, host or path is in them: the same job gives the same bytes wherever and however it was done.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.errors import DataError, ResourceError
from distilmt.labels import segments
from distilmt.labels.lease import look
from distilmt.labels.manifest import read_manifest
from distilmt.labels.records import USABLE, Record
from distilmt.labels.shards import Shards, hash_of_first
from distilmt.state.storage import disk_errors, read_json, sync_folder, write_json
from distilmt.text.files import COMPRESSED, file_hash, line_writer, open_text

if TYPE_CHECKING:
    from distilmt.label import Labels
    from distilmt.labels.lease import Lease

RESULT = "labels.json"


class Damaged(DataError):
    """A shard that was done is not what its done record promises; `shards.reopen(shard)` has it done again."""

    def __init__(self, what: str, shards: Shards, shard: int) -> None:
        command = "`distilmt label` again"
        if shards.folder.parent.name == "redo":
            command = f"`distilmt labels redo` again, or delete {shards.folder}"
        super().__init__(f"{what} - run the same {command}: the shard is labelled anew")
        self.shards, self.shard = shards, shard


class Superseded(Exception):
    """Another merge has begun, because this one did not answer for too long."""


class Stored:
    """The records of a job and of what was redone since, for reading.

    Args:
        folder: of the job.

    What is being redone counts once all of it is done: it is in `redone`, and in `begun` before.

    Raises:
        DataError: no job, or a damaged manifest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest, self.job = read_manifest(folder)
        self.shard_lines: int = self.manifest["shard_lines"]
        self.lines: int = self.manifest["source"]["lines"]
        count = -(-self.lines // self.shard_lines)
        self.base = Shards(folder, self.job, count, 60.0)
        soft = self.manifest["options"]["soft_labels"]
        self.stores = (("soft", "forced") if self.manifest["target"] else ("soft",)) if soft else ()
        self.redone: list[tuple[Shards, dict[int, list[int]]]] = []
        self.begun: list[Path] = []
        for path in redo_folders(folder):
            manifest, job = read_redo(path)
            chosen = {int(shard): lines for shard, lines in manifest["lines"].items()}
            shards = Shards(path, job, count, 60.0)
            if manifest["base"] == self.job.hex() and chosen.keys() <= shards.finished():
                self.redone.append((shards, chosen))
            elif manifest["base"] == self.job.hex():
                self.begun.append(path)

    def unfinished(self) -> int:
        """How many shards are still to be done."""
        return self.base.count - len(self.base.finished())

    @property
    def generations(self) -> list[str]:
        """Ids of what was redone: labels.json has those that are in it."""
        return [shards.job.hex() for shards, _ in self.redone]

    def numbers(self, shard: int) -> range:
        """Lines of a shard."""
        first = shard * self.shard_lines + 1
        return range(first, min(first + self.shard_lines, self.lines + 1))

    def check(self) -> None:
        """Proves the segments of all shards that are done. Raises: Damaged."""
        for shard in sorted(self.base.finished()):
            if shard < self.base.count:
                proven_segment(self.base, shard, len(self.numbers(shard)))
        for shards, chosen in self.redone:
            for shard, lines in chosen.items():
                proven_segment(shards, shard, len(lines))

    def records(self) -> Iterator[Record]:
        """All records in source order; each shard is proven as it is read.

        Raises:
            Damaged: a shard's bytes are not those that were recorded; nothing of it was yielded in vain but what was sound.
        """
        for shard in range(self.base.count):
            newer: dict[int, Record] = {}
            for shards, chosen in self.redone:
                newer |= {record.line: record for record in shard_records(shards, shard, chosen.get(shard, []))}
            for record in shard_records(self.base, shard, self.numbers(shard)):
                yield newer.get(record.line, record)


def shard_records(shards: Shards, shard: int, lines: Any) -> Iterator[Record]:
    """The records of one finished shard.

    Raises: Damaged.
    """
    if not lines:
        return
    path, size = proven_segment(shards, shard, len(lines))
    found = segments.read_segment(path, shards.head(shard), size)
    count = 0
    for (record, _), line in zip(found, lines, strict=False):
        if record.line != line:
            break
        count += 1
        yield record
    if count != len(lines):
        raise Damaged(f"{path}: damaged at line {lines[count]}", shards, shard)


def proven_segment(shards: Shards, shard: int, count: int) -> tuple[Path, int]:
    """The segment file of a finished shard of `count` records, and how many of its bytes count.

    Raises: Damaged: its bytes are not those that were recorded.
    """
    done = shards.done(shard)
    if done is None or done.records != count:
        raise Damaged(f"{shards.folder / 'done' / f'{shard:06}.json'}: missing or damaged", shards, shard)
    path = shards.segment(shard, done.attempt)
    if not path.is_file() or hash_of_first(path, done.bytes) != done.sha256:
        raise Damaged(f"{path}: missing or damaged", shards, shard)
    return path, done.bytes


def merged_records(folder: Path) -> Iterator[Record]:
    """All records of a finished job, in source order. Raises: DataError: unfinished or damaged."""
    stored = Stored(folder)
    if missing := stored.unfinished():
        raise DataError(f"{folder}: {missing} shards are still to be labelled - run the same `distilmt label` again")
    return stored.records()


def redo_folders(folder: Path) -> list[Path]:
    """The folders of what was redone, oldest first."""
    found = [path for path in (folder / "redo").glob("*") if path.name.isdigit() and (path / "manifest.json").exists()]
    return sorted(found, key=lambda path: int(path.name))


def read_redo(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The manifest of what is redone, and its id. Raises: DataError: damaged."""
    import hashlib

    path = folder / "manifest.json"
    manifest = read_json(path, f"delete {folder} and redo these lines again")
    if not {"lines", "where", "generation", "options", "base"} <= set(manifest):
        raise DataError(f"{path}: damaged: incomplete - delete {folder} and redo these lines again")
    return manifest, hashlib.sha256(path.read_bytes()).digest()


def merge(folder: Path, model: Path, suffix: str, lease: Lease) -> Labels:
    """Writes the results of a job whose shards are all done, reads them back, and records that they are whole.

    Args:
        model: the teacher's folder, which soft labels are bound to.
        suffix: of line-aligned files: "", ".gz", ".xz" or ".zst".
        lease: of this merge. Should it sleep and another take over, that one's results stay: each writes beside their place.

    Raises:
        Damaged: a shard has to be done again. Superseded: another has taken over.
        ResourceError: the disk refuses, or gives back something else.
    """
    stored = Stored(folder)
    options, source = stored.manifest["options"], stored.manifest["source"]
    with disk_errors(folder / RESULT):
        (folder / RESULT).unlink(missing_ok=True)
    files = {"pseudo": f"pseudo.txt{suffix}", "statuses": f"statuses.txt{suffix}"}
    if options["search"]["n_best"] > 1:
        files["nbest"] = f"nbest.tsv{suffix}"
    counts: Counter[str] = Counter()
    gold_faults: Counter[str] = Counter()
    tokens = lines = 0
    with ExitStack() as soft_files:
        stores = {}
        if options["soft_labels"]:
            from distilmt.soft_labels import SoftLabelsWriter

            bound: Any = {
                "model": model, "source": source["sha256"], "k": options["soft_labels"], "floor": options["soft_floor"],
            }  # fmt: skip
            for name in stored.stores:
                part = _beside(folder, name, lease)
                soft_files.callback(shutil.rmtree, part, ignore_errors=True)
                stores[name] = soft_files.enter_context(SoftLabelsWriter(part, **bound))
        with ExitStack() as text_files:
            out = {kind: text_files.enter_context(line_writer(folder / name)) for kind, name in files.items()}
            for record in stored.records():
                out["pseudo"].write(record.text)
                out["statuses"].write(record.verdict)
                for rank, each in enumerate(record.candidates if "nbest" in out else (), 1):
                    out["nbest"].write(f"{record.line}\t{rank}\t{each.score:.6f}\t{each.text}")
                if "soft" in stores:  # a student that learns from the store shall not learn an excluded line
                    stores["soft"].append(record.soft if record.verdict in USABLE else b"")
                if "forced" in stores:
                    stores["forced"].append(record.forced)
                counts[record.verdict] += 1
                gold_faults.update([record.gold_fault] * bool(record.gold_fault))
                tokens += record.candidates[0].tokens if record.candidates else 0
                lines += 1
            _stop_superseded(lease)
        hashes = {name: out[kind].sha256 for kind, name in files.items()}
        for name, store in stores.items():
            text = out["pseudo"].sha256 if name == "soft" else stored.manifest["target"]["sha256"]
            _stop_superseded(lease)
            hashes[header(name)] = store.finish(text).hash
            _put_in_place(folder, name, lease)
    for kind, name in files.items():
        found = _read_back(folder / name)
        if found != (out[kind].lines, out[kind].sha256) or (kind != "nbest" and found[0] != stored.lines):
            raise ResourceError(
                f"{folder / name}: {found[0]} lines were read back where {out[kind].lines} were written - check the disk"
            )
    _remove_others(folder, files)
    done = [stored.base.done(shard) for shard in range(stored.base.count)]
    _stop_superseded(lease)
    write_json(
        folder / RESULT,
        {
            "job": stored.job.hex(), "lines": lines, "counts": dict(sorted(counts.items())),
            "gold_faults": dict(sorted(gold_faults.items())), "target_tokens": tokens,
            "repeated_lines": sum(each.repeated for each in done if each), "source_hash": source["sha256"],
            "pseudo_hash": out["pseudo"].sha256, "files": files,
            "hashes": hashes, "redone": stored.generations,
            "redone_lines": [sum(map(len, chosen.values())) for _, chosen in stored.redone],
        },
    )  # fmt: skip
    return open_labels(folder)


def _remove_others(folder: Path, files: dict[str, str]) -> None:
    """Removes results that were once compressed otherwise."""
    with disk_errors(folder):
        for name in files.values():
            plain = name.removesuffix("".join(suffix for suffix in COMPRESSED if name.endswith(suffix)))
            for suffix in ("", *COMPRESSED):
                if plain + suffix != name:
                    (folder / (plain + suffix)).unlink(missing_ok=True)


def open_labels(folder: Path) -> Labels:
    """The finished job in a folder. Raises: DataError: unfinished or damaged."""
    from distilmt.label import Labels
    from distilmt.labels.events import decoding_seconds

    path = folder / RESULT
    if not path.exists():
        raise DataError(f"{folder}: no finished labels - run the same `distilmt label` again")
    remedy = "delete it and run the same `distilmt label` again: the results are written anew"
    record = read_json(path, remedy)
    try:
        return Labels(
            folder, record["lines"], record["counts"], record["source_hash"], record["pseudo_hash"],
            record["target_tokens"], decoding_seconds(folder), record["files"],
            record["hashes"][record["files"]["statuses"]], record.get("gold_faults", {}),
        )  # fmt: skip
    except KeyError as error:
        raise DataError(f"{path}: damaged: {error} is missing - {remedy}") from None


def header(name: str) -> str:
    """The file of a store that holds the hashes of the others."""
    return f"{name}/soft_labels.json"


def _beside(folder: Path, name: str, lease: Lease, suffix: str = "part") -> Path:
    return folder / f".{name}.{lease.attempt}.{suffix}"


def _stop_superseded(lease: Lease) -> None:
    if lease.superseded():
        raise Superseded


def _put_in_place(folder: Path, name: str, lease: Lease) -> None:
    """Replaces a folder by the one that was made beside it, and removes what killed merges left.

    Raises: Superseded: the one beside it was taken away, for this process did not answer.
    """
    made, place, old = _beside(folder, name, lease), folder / name, _beside(folder, name, lease, "old")
    with disk_errors(place):
        _stop_superseded(lease)
        while True:
            with suppress(FileNotFoundError):
                os.rename(place, old)
            try:
                os.rename(made, place)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    _stop_superseded(lease)
                    raise
                shutil.rmtree(old, ignore_errors=True)  # another put its own there between the two
        sync_folder(folder)
        shutil.rmtree(old, ignore_errors=True)
        for left in [*folder.glob(f".{name}.*.part"), *folder.glob(f".{name}.*.old")]:
            if _ended(lease, int(left.suffixes[-2][1:])):
                shutil.rmtree(left, ignore_errors=True)


def _ended(lease: Lease, attempt: int) -> bool:
    """Whether the merge of an attempt is known to have ended; that of one that sleeps may yet wake."""
    path = lease.path.with_name(f"{lease.shard:06}.{attempt}")
    if attempt == lease.attempt or not path.exists():
        return False
    seen = look(path)
    return seen.gone or seen.state in ("released", "failed", "done")


def _read_back(path: Path) -> tuple[int, str]:
    with open_text(path) as stream:
        lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    return lines, file_hash(path)
