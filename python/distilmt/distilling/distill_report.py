"""The report of a `distilmt distill` run: what the stages recorded, put together."""

from __future__ import annotations

import datetime
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.text.dataset import is_column, parse_column
from distilmt.text.files import bare_name, language_of

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials
    from distilmt.distilling.methods import Method
    from distilmt.report import Report
    from distilmt.train import TrainingOptions


def set_name(path: str) -> str:
    """Name of a test set: its file name without language and compression suffixes, or dataset and split."""
    if is_column(path):
        column = parse_column(path)
        return f"{Path(column.name).name}.{column.split}"
    name = bare_name(path)
    return name.rsplit(".", 1)[0] if "." in name else name


def _direction(text: tuple[str, str]) -> dict[str, str]:
    """`{"direction": "de-en"}` where the names of the training files or columns end in their languages, else nothing."""
    suffixes = [bare_name(path).replace(":", ".").rpartition(".")[2] for path in text]
    return {"direction": "-".join(suffixes)} if all(2 <= len(suffix) <= 3 for suffix in suffixes) else {}


def system(
    name: str, role: str, method: Method | None, seed: int | None, trained: dict[str, Any], tested: dict[str, Any]
) -> dict[str, Any]:
    """One entry of the report's `systems` (schema: docs/report.md)."""
    facts: dict[str, Any] = {"name": name, "role": role, "seed": seed} | trained | tested
    if method is not None:
        columns = {key: [getattr(phase, key) for phase in method.phases] for key in ("objective", "recipe")}
        facts |= {"method": method.name} | {key: ", then ".join(each) for key, each in columns.items()}
    return facts


def write_report(
    materials: Materials, tests: dict[str, Corpus], systems: list[dict[str, Any]], notes: list[str]
) -> Report:
    """Puts the report together from what the stages recorded, and writes it.

    Args:
        tests: the test sets by name.
        systems: entries of the report (`system`), the teacher first.
    """
    from distilmt.report import Report
    from distilmt.report.significance import NOT_KEPT, find_significance
    from distilmt.run import versions

    run, config, teacher = materials.run, materials.config, systems[0]
    for system in systems:
        system["compression"] = teacher["parameters"] / system["parameters"]
    languages = {set_name(test[0]): language_of(test[1]) for test in config.test}
    references = {name: text.targets for name, text in tests.items()}
    significance = find_significance(run, systems, references, languages)
    if any("hypotheses" not in system for system in systems):
        notes = [*notes, NOT_KEPT]
    report = Report({
        "title": config.title,
        "command": run.command,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": _machine(),
        "systems": systems,
        "significance": significance,
        "stages": run.stages(),
        "setup": _setup(materials, tests),
        "notes": notes,
        "rates": asdict(config.rates),
        **_direction(config.train),
    })  # fmt: skip
    report.save(run.folder)
    return report


def _setup(materials: Materials, tests: dict[str, Corpus]) -> dict[str, Any]:
    """What the report's methods paragraph and provenance say: texts, models, options (schema: docs/report.md)."""
    from distilmt import models
    from distilmt.marian.model_folder import read_config
    from distilmt.models import parse_size

    config, size = materials.config, parse_size(materials.config.student_size)
    texts = [("train", materials.text), ("dev", materials.dev), *tests.items()]
    teacher = read_config(materials.teacher)
    shape = {
        "encoder_layers": teacher.encoder_layers, "decoder_layers": teacher.decoder_layers, "hidden": teacher.d_model,
        "ffn": teacher.encoder_ffn_dim, "heads": teacher.encoder_attention_heads, "vocabulary": teacher.vocab_size,
        "weights": models.weights_hash(materials.teacher),
    }  # fmt: skip
    return {
        "texts": [
            {"name": name, "pairs": text.counts()["ok"], "source_hash": text.source_hash, "target_hash": text.target_hash}
            for name, text in texts
        ],
        "teacher": shape, "student": asdict(size), "label_beam_size": config.label.beam_size,
        "test_beam_size": config.test_beam_size, "training": _options(config.training),
        "teacher_training": _options(config.teacher_training) if config.teacher is None else None,
        "own": asdict(config.own) if config.own.share else None,
    }  # fmt: skip


def _options(training: TrainingOptions) -> dict[str, Any]:
    """Without the seed, which is each system's own."""
    return {key: value for key, value in training.inputs().items() if key != "seed"}


def _machine() -> dict[str, Any]:
    """Hardware and system, as names and values."""
    import torch

    from distilmt.report.cells import size

    found = {"processor": _processor(), "cpus": len(os.sched_getaffinity(0)), "system": platform.platform()}
    found["memory"] = size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if torch.cuda.is_available():
        found["cards"] = ", ".join(torch.cuda.get_device_name(card) for card in range(torch.cuda.device_count()))
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
