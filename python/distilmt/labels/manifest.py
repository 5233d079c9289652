"""The identity of a job: everything its results depend on, in one file that is created once and never changed.

    format, engine      of the records; version of distilmt
    source, target      SHA-256 of the uncompressed text, and its lines
    model               SHA-256 of each of the folder's files that a translation depends on; of an ensemble's second
                        model these are named 2/config.json ...
    numbers             compute type as chosen, instruction set, or "cuda" (whichever device of a machine)
    options             of search, verdicts, soft labels, languages, unreadable bytes, long lines
    shard_lines         where the text is cut

How many workers, threads and machines do the work, and where the files lie, is not in it. A job's id is the SHA-256 of the file;
every segment carries it, so that records of different jobs can never be mixed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.errors import ConfigError, DataError
from distilmt.state.stage import differences
from distilmt.state.storage import create_bytes, disk_errors, plain, read_json
from distilmt.translator.model_options import ModelOptions, folder_of

if TYPE_CHECKING:
    from distilmt.label import LabelConfig
    from distilmt.labels.source import Text

NAME = "manifest.json"
FORMAT = 1
_OF_JOB = {
    "labels", "manifest", "job", "cost", "pseudo", "statuses", "nbest", "soft", "forced", "redo", "leases", "segments",
    "done", "events",
}  # fmt: skip
_MODEL_FILES = (".json", ".safetensors", ".spm", ".model", ".txt", ".bin")


def describe(config: LabelConfig, model: Path, text: Text, target: Text | None) -> dict[str, Any]:
    """The manifest of a job."""
    from importlib.metadata import version

    from distilmt import _native
    from distilmt.translator import attention
    from distilmt.translator.compute_type import chosen
    from distilmt.translator.device import kind
    from distilmt.translator.native_model import columns_of

    device = kind(config.asked.device)
    asked = asdict(replace(config.asked, also=()))
    del asked["device"], asked["attention"]
    compute_type = chosen(config.compute_type, device)
    columns = {} if device == "cpu" else {"columns": columns_of(model)}  # read where there is something to choose
    who = attention.chosen(config.asked.attention, device, compute_type, **columns)
    manifest: dict[str, Any] = plain({
        "format": FORMAT,
        "engine": version("distilmt"),
        "source": {"sha256": text.sha256, "lines": text.lines},
        "target": target and {"sha256": target.sha256, "lines": target.lines},
        "model": teacher_hashes(model, config.asked),
        "numbers": {
            "compute_type": compute_type,
            "instruction_set": _native.active_isa() if device == "cpu" else device,
        } | ({"attention": who} if who else {}),
        "options": {
            "search": config.search.options(), "verdicts": asdict(config.verdicts), "model": asked,
            "soft_labels": config.soft_labels, "soft_floor": config.soft_floor if config.soft_labels else None,
            "too_long": config.too_long, "on_invalid_utf8": config.on_invalid_utf8,
        },
        "shard_lines": config.shard_lines,
    })  # fmt: skip
    return manifest


def teacher_hashes(model: Path, asked: ModelOptions) -> dict[str, str]:
    """`model_hashes` of a teacher and of those that translate with it."""
    return model_hashes(model) | {
        f"{number}/{name}": found
        for number, each in enumerate(asked.also, 2)
        for name, found in model_hashes(folder_of(each)).items()
    }


def model_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by name of the files of a model folder: weights, configuration, vocabulary."""
    hashes = {}
    with disk_errors(folder):
        for path in sorted(folder.iterdir()):
            if path.suffix in _MODEL_FILES and path.is_file():
                digest = hashlib.sha256()
                with path.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
                hashes[path.name] = digest.hexdigest()
    return hashes


def open_manifest(folder: Path, manifest: dict[str, Any]) -> bytes:
    """Creates the manifest, or compares with the one that is there.

    Returns:
        The job's id, 32 bytes.

    Raises:
        ConfigError: the folder is a job of other inputs (with a diff), or no job at all.
        DataError: the manifest is damaged.
    """
    path = folder / NAME
    data = (json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in folder.iterdir() if entry.name[0] != "."}
    if names and not names & {NAME, "leases"}:  # without a manifest that was damaged and deleted it is still a job
        raise ConfigError(f"{folder}: holds {min(names)!r} and is no labelling job - choose another --out")
    if not create_bytes(path, data):
        recorded, identity = read_manifest(folder)
        if lines := differences(recorded, manifest):
            raise ConfigError(
                f"{folder}: this job was begun with other inputs - set them back, choose another --out, or start over with "
                "--new-run (the old job is kept):\n" + "\n".join(lines)
            )
        return identity
    return hashlib.sha256(data).digest()


def read_manifest(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The manifest of a job, and the job's id.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        raise DataError(f"{folder}: no labelling job (manifest.json is missing) - name the --out of a `distilmt label`")
    with disk_errors(path):
        data = path.read_bytes()
    try:
        manifest = json.loads(data)
        if data != (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode("ascii"):
            raise ValueError("not as it was written")
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']!r}, this version reads {FORMAT}")
        whole = manifest["source"]["lines"] > 0 and manifest["shard_lines"] > 0
        if not whole or not {"model", "numbers", "options", "target", "engine"} <= set(manifest):
            raise ValueError("incomplete")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: damaged ({error}) - delete it and run the same `distilmt label` again: records of other options are "
            "told by their id and not used"
        ) from None
    return manifest, hashlib.sha256(data).digest()


def refuse_overwriting(folder: Path, *paths: Path) -> None:
    """Raises ConfigError where a path to be written is the job's folder, something in it that is the job's, or its text."""
    folder = folder.resolve()
    job = folder / "job.json"
    recorded = read_json(job, "run the same `distilmt label` again") if job.exists() else {}
    texts = {Path(text).resolve() for name in ("source", "target") if (text := recorded.get(name))}
    for path in paths:
        found = path.resolve()
        inside = folder in found.parents and found.relative_to(folder).parts[0].split(".")[0] in _OF_JOB
        if inside or found == folder or found in texts:
            raise ConfigError(f"--out: {path} belongs to the labelling itself - choose another name")
