"""Whether the results of a job are what labels.json promises, and belong to the records that are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distilmt.errors import DataError, ResourceError
from distilmt.labels.merge import RESULT, Stored, header, open_labels
from distilmt.state.storage import read_json
from distilmt.text.files import file_hash

if TYPE_CHECKING:
    from distilmt.label import Labels


def faults(stored: Stored) -> list[str]:
    """What is not as labels.json promises, a sentence each; none where the results are whole and those of these records.

    Raises: DataError: labels.json is damaged.
    """
    folder, path = stored.folder, stored.folder / RESULT
    if not path.exists():
        return [f"{folder}: not merged yet"]
    record = read_json(path, "delete it and run the same `distilmt label` again: the results are written anew")
    files, hashes, counts = (record.get(name) for name in ("files", "hashes", "counts"))
    if (
        not (isinstance(files, dict) and isinstance(hashes, dict) and isinstance(counts, dict))
        or not {"pseudo", "statuses"} <= files.keys()
        or not {*files.values(), *map(header, stored.stores)} <= hashes.keys()
        or (record.get("job"), record.get("lines")) != (stored.job.hex(), stored.lines)
        or sum(counts.values()) != stored.lines
    ):
        return [f"{path}: not the proof of these labels"]
    found = []
    if record.get("redone") != stored.generations:
        found.append(f"{folder}: what was redone last is not merged yet")
    for name, sha256 in hashes.items():
        if not (folder / name).exists() or file_hash(folder / name) != sha256:
            found.append(f"{folder / name}: missing, or not what was written")
    for name in stored.stores:
        from distilmt.soft_labels import SoftLabelsStore

        try:
            SoftLabelsStore(folder / name).verify()
        except (DataError, ResourceError) as error:
            found.append(str(error))
    return found


def proven(folder: Path, *, segments: bool) -> Labels | None:
    """The results of a job, where they are what labels.json promises; `segments`: and so are the records.

    Raises: Damaged: a shard has to be done again.
    """
    stored = Stored(folder)
    if faults(stored):
        return None
    if segments:
        stored.check()
    return open_labels(folder)
