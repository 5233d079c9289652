"""A made-up report for the tests."""

from __future__ import annotations

from typing import Any

SIGNATURES = {
    "bleu_signature": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
    "chrf_signature": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0",
}


def system(name: str, role: str, bleu: float, *, pace: float, seed: int | None = None, **more: Any) -> dict[str, Any]:
    scores = {"bleu": bleu, "chrf": bleu + 20, **SIGNATURES}
    parameters = 8_000_000 if role == "teacher" else 1_000_000
    curve = [{"update": 10 * step, "train_loss": 5.0 / step, "dev_bleu": bleu - 5 / step} for step in (1, 2, 3)]
    trained = {"updates": 30, "target_tokens": 9_000, "seconds": 75.0, "tokens_per_second": 120.0}
    return {
        "name": name, "role": role, "seed": seed, "parameters": parameters, "file_bytes": 4 * parameters,
        "compression": 8_000_000 / parameters, "test": {"flickr": scores}, "tokens_per_second": pace,
        "decode": {"beam_size": 5, "threads": 2, "seconds": 3.0}, "dev_bleu": bleu,
        "curve": [] if role == "teacher" else curve, "training": None if role == "teacher" else trained,
    } | more  # fmt: skip


def stage(name: str, joules: float | None = None, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "seconds": 100.0, "cpu_seconds": 190.0, "peak_rss_bytes": 1_500_000_000, "joules": joules,
        "energy_method": "RAPL" if joules else "not measured",
        "energy_missing": [] if joules else ["RAPL: no zones under /sys/class/powercap"],
    } | more  # fmt: skip


def example() -> dict[str, Any]:
    """A teacher at 40, a baseline at 30, word-kd at 34 and 36, seq-kd at 41 and slower."""
    return {
        "title": "A <b>title</b> & more",
        "command": "distilmt distill --out run",
        "created": "2026-11-21T03:00:00+00:00",
        "versions": {"distilmt": "0.1.0", "sacrebleu": "2.6.0"},
        "machine": {"processor": "Some CPU", "cpus": 2},
        "direction": "de-en",
        "systems": [
            system("word-kd", "student", 34.0, pace=900, seed=1, objective="NLL() | <x>", method="word-kd"),
            system("word-kd", "student", 36.0, pace=1100, seed=2, objective="NLL() | <x>", method="word-kd"),
            system("teacher", "teacher", 40.0, pace=100),
            system("alone", "baseline", 30.0, pace=1000, seed=1),
            system("seq-kd", "student", 41.0, pace=500, seed=1),
        ],
        "stages": [stage("label"), stage("train")],
        "notes": ["3 empty lines"],
    }


def compared(name: str, p: float | None = 0.001, measure: str = "bleu", **more: Any) -> dict[str, Any]:
    """A row of significance, against the student alone."""
    return {
        "test_set": "flickr", "measure": measure, "name": name, "against": "alone", "difference": 8.0, "low": 6.5,
        "high": 9.5, "p": p, "p_holm": p, "test": "approximate randomisation over sentences" if p else "", "stars": "",
        "sentences": 1000, "seeds": [1, 1],
    } | more  # fmt: skip


SETUP = {
    "texts": [
        {"name": "train", "pairs": 500_000, "source_hash": "12" * 32, "target_hash": "34" * 32},
        {"name": "dev", "pairs": 1_000}, {"name": "flickr", "pairs": 1_014},
    ],
    "teacher": {
        "encoder_layers": 6, "decoder_layers": 6, "hidden": 512, "ffn": 2048, "heads": 8, "vocabulary": 8000,
        "weights": "ef" * 32,
    },
    "student": {"encoder_layers": 3, "decoder_layers": 1, "hidden": 128, "ffn": 512, "heads": 4},
    "training": {
        "updates": 1250, "batch_tokens": 2048, "learning_rate": 2e-3, "warmup": 250, "schedule": "linear", "dropout": 0.1,
        "clip_norm": 1.0,
    },
    "label_beam_size": 5, "test_beam_size": 4, "own": {"share": 0.5},
}  # fmt: skip

_MEANS = {"agreement": 0.5, "kl": 1.0, "teacher_loss": 1.5, "student_loss": 2.5}
MICROSCOPE = {
    **_MEANS, "sentences": 1, "tokens": 9, "covered": 0.9, "k": 32, "int8_loss": 2.6, "teacher_mode": 0.1,
    "student_mode": 0.01, "by": {place: [{"name": "1", "tokens": 9, **_MEANS}] for place in ("position", "frequency", "length")},
    "counts": {"teacher": {"copy": 0}, "student": {"copy": 1}},
    "ranked": [{"test": "flickr", "line": 1, "source": "a", "reference": "b", "teacher": "b", "student": "", "difference": 9.0}],
}  # fmt: skip


def rows(table: Any) -> dict[str, dict[str, str]]:
    return {row[0]: dict(zip(table.head[1:], row[1:], strict=True)) for row in table.rows}
