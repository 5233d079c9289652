"""A made-up run for the tests of the bill: a teacher at 40 BLEU, a student alone at 30, word-kd at 34 and 36, seq-kd at 38."""

from __future__ import annotations

import copy
from typing import Any

from report_data import SETUP, compared, example, stage

RATES = {"grams_per_kwh": 500.0, "pue": 1.2, "price_per_kwh": 0.5, "price_per_hour": 3.6, "currency": "EUR"}
MEGA = 3.6e6  # joules of a kWh


def billed(joules: bool = True) -> dict[str, Any]:
    """Stages in round numbers: an hour of teacher and labels each, half an hour of a student; 2, 1 and 0.5 kWh."""

    def made(name: str, kind: str, hours: float, kwh: float, **more: Any) -> dict[str, Any]:
        energy = {"energy_kind": "measured", "joules_low": 0.9 * kwh * MEGA, "joules_high": 1.1 * kwh * MEGA}
        return stage(
            name, kwh * MEGA if joules else None, kind=kind, seconds=3600 * hours, cpu_seconds=7200 * hours
        ) | (more | (energy if joules else {}))

    data = example()
    data["systems"][4]["test"]["flickr"] |= {"bleu": 38.0, "chrf": 58.0}
    data["stages"] = [
        made("teacher", "teacher-training", 1.0, 2.0, peak_rss_bytes=4_000_000_000),
        made("label", "labelling", 1.0, 1.0, work={"lines": 500_000, "target_tokens": 6_000_000}),
        *(
            made(f"student-{name}", "student-training", 0.5, 0.5)
            for name in ("word-kd-1", "word-kd-2", "alone-1", "seq-kd-1")
        ),
        made("evaluate-teacher", "evaluation", 0.1, 0.1),
    ]
    for entry in data["systems"]:
        own = f"student-{entry['name']}-{entry['seed']}"
        entry["made_by"] = (
            ["teacher"] if entry["role"] == "teacher" else ["label"] * (entry["name"] == "seq-kd") + [own]
        )
        repeat = {
            "seconds": 9.0 if entry["role"] == "teacher" else 0.9,
            "energy_kind": "measured",
            "energy_method": "RAPL",
        }
        repeat |= {"joules": 100 * repeat["seconds"] if joules else None}
        entry["decode"] = {
            "beam_size": 5,
            "threads": 2,
            "seconds": repeat["seconds"],
            "source_words": 10_000,
            "repeats": [repeat] * 3,
        }
    data["rates"] = dict(RATES)
    return data


def told(joules: bool = True) -> dict[str, Any]:
    """With everything that a report can tell: setup, significance, verdicts, hashes, decodings by lines."""
    data = billed(joules)
    for entry in data["systems"]:
        entry["decode"] |= {"lines": 1000, "compute_type": "float32"}
        if entry["role"] != "teacher":
            recipe = "seq-kd" if entry["name"] == "seq-kd" else "gold"
            objective = "0.5 * NLL() + 0.5 * WordKD()" if entry["name"] == "word-kd" else "NLL(label_smoothing=0.1)"
            entry |= {"method": entry["name"], "recipe": recipe, "objective": objective}
            entry["training"]["precision"] = "bfloat16"
    data["stages"][1] |= {"verdicts": {"ok": 498_000, "copy": 2_000}, "outputs": {"pseudo": "ab" * 32}}
    data["significance"] = [compared(name, measure=m) for m in ("bleu", "chrf") for name in ("word-kd", "seq-kd")]
    return data | {"setup": copy.deepcopy(SETUP)}
