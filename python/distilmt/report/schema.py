"""What report.json holds (docs/report.md), and the sentence about the first fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from distilmt.bill.bill import rates_of
from distilmt.errors import DataError
from distilmt.report.numbers import MEASURES, ROLES, Data

_NUMBER, _TEXT = (int, float), (str,)
_MAYBE_NUMBER = (int, float, type(None))
_TOP = {
    "title": _TEXT, "command": _TEXT, "created": _TEXT, "versions": (dict,), "machine": (dict,), "systems": (list,),
    "stages": (list,),
}  # fmt: skip
_SYSTEM = {"name": _TEXT, "role": _TEXT, "parameters": _NUMBER, "file_bytes": _NUMBER, "test": (dict,)}
_SCORES = {"bleu": _NUMBER, "chrf": _NUMBER, "bleu_signature": _TEXT, "chrf_signature": _TEXT}
_STAGE = {
    "name": _TEXT, "seconds": _NUMBER, "cpu_seconds": _MAYBE_NUMBER, "peak_rss_bytes": _MAYBE_NUMBER,
    "joules": _MAYBE_NUMBER, "energy_method": _TEXT,
}  # fmt: skip
_SIGNIFICANCE = {
    "test_set": _TEXT, "measure": _TEXT, "name": _TEXT, "against": _TEXT, "difference": _NUMBER, "low": _NUMBER,
    "high": _NUMBER, "p": _MAYBE_NUMBER, "p_holm": _MAYBE_NUMBER, "test": _TEXT, "stars": _TEXT, "sentences": _NUMBER,
    "seeds": (list,),
}  # fmt: skip
# Keys that may be absent or null: types, [of each item], or (keys of an object that are required, that are not).
_ENERGY = {
    "joules": _NUMBER,
    "joules_low": _NUMBER,
    "joules_high": _NUMBER,
    "energy_kind": _TEXT,
    "energy_method": _TEXT,
}
_REPEAT = ({"seconds": _NUMBER}, _ENERGY)
_DECODE: dict[str, Any] = dict.fromkeys(
    ("beam_size", "threads", "seconds", "lines", "source_words", "target_tokens"), _NUMBER
) | {"compute_type": _TEXT}
_POINT = ({"update": _NUMBER}, {"train_loss": _NUMBER, "dev_bleu": _NUMBER, "seconds": _NUMBER, "terms": (dict,)})
_TRAINED = dict.fromkeys(("updates", "target_tokens", "seconds", "tokens_per_second"), _NUMBER) | {"precision": _TEXT}
_MEANS = dict.fromkeys(("agreement", "kl", "teacher_loss", "student_loss"), _NUMBER)
_BIN: tuple[dict[str, Any], dict[str, Any]] = ({"name": _TEXT, "tokens": _NUMBER} | _MEANS, {})
_RANKED = dict.fromkeys(("test", "source", "reference", "teacher", "student"), _TEXT) | {
    "line": _NUMBER,
    "difference": _NUMBER,
}
_COUNTS = {"teacher": (dict,), "student": (dict,)}
_MICROSCOPE = {
    **_MEANS, **dict.fromkeys(("covered", "k", "int8_loss", "teacher_mode", "student_mode"), _NUMBER),
    "by": ({}, {"position": [_BIN], "frequency": [_BIN], "length": [_BIN]}), "ranked": [(_RANKED, {"kl": _NUMBER})],
}  # fmt: skip
_MORE_OF_SYSTEM = {
    "microscope": ({"sentences": _NUMBER, "tokens": _NUMBER}, _MICROSCOPE | {"counts": (_COUNTS, {})}),
    "compression": _NUMBER, "method": _TEXT, "objective": _TEXT, "recipe": _TEXT, "seed": (int, str), "run": _TEXT,
    "made_by": [_TEXT], "tokens_per_second": _NUMBER, "decode": ({}, _DECODE | {"repeats": [_REPEAT]}),
    "hypotheses": (dict,), "dev_bleu": _NUMBER, "curve": [_POINT], "training": ({}, _TRAINED),
}  # fmt: skip
_MORE_OF_STAGE = _ENERGY | {
    "verdicts": (dict,), "outputs": (dict,),
    "kind": _TEXT, "run": _TEXT, "work": ({}, {"lines": _NUMBER, "target_tokens": _NUMBER}), "peak_rss_method": _TEXT,
    "energy_coverage": [_TEXT], "energy_missing": [_TEXT], "gpu_peak_bytes": _NUMBER,
}  # fmt: skip
_SHAPE = dict.fromkeys(("encoder_layers", "decoder_layers", "hidden", "ffn", "heads", "vocabulary"), _NUMBER)
_TRAINING = dict.fromkeys(
    ("updates", "batch_tokens", "accumulate", "learning_rate", "warmup", "dropout", "weight_decay", "clip_norm"),
    _NUMBER,
) | {"schedule": _TEXT, "precision": _TEXT}
_SETUP = {
    "texts": [({"name": _TEXT}, {"pairs": _NUMBER, "source_hash": _TEXT, "target_hash": _TEXT})],
    "teacher": ({}, _SHAPE | {"weights": _TEXT}), "student": ({}, _SHAPE), "training": ({}, _TRAINING),
    "teacher_training": ({}, _TRAINING), "label_beam_size": _NUMBER, "test_beam_size": _NUMBER,
    "own": ({}, {"share": _NUMBER}),
}  # fmt: skip
_OF_RUN = {
    "direction": _TEXT, "setup": ({}, _SETUP), "significance": [(_SIGNIFICANCE, {"seeds": [_NUMBER]})], "notes": [_TEXT],
}  # fmt: skip
_RUN = ({key: _TOP[key] for key in _TOP if key not in ("systems", "stages")} | {"label": _TEXT}, _OF_RUN)
_MORE = {"runs": [_RUN]} | _OF_RUN


def check(data: Data, where: str) -> None:
    """Compares with the schema of docs/report.md; the first fault is the message."""
    _check_keys(data, _TOP, where, "")
    _check_more(data, _MORE, where, "")
    try:
        rates_of(data)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if not data["systems"]:
        raise DataError(f"{where}: systems is empty - a report is of at least one system")
    for number, entry in enumerate(data["systems"]):
        at = f"systems[{number}]."
        _check_keys(entry, _SYSTEM, where, at)
        _check_more(entry, _MORE_OF_SYSTEM, where, at)
        if entry["role"] not in ROLES:
            raise DataError(f"{where}: {at}role: expected one of {', '.join(ROLES)}, got {entry['role']!r}")
        for side, counts in ((entry.get("microscope") or {}).get("counts") or {}).items():
            _check_keys(counts, dict.fromkeys(counts, _NUMBER), where, f"{at}microscope.counts.{side}.")
        for test, scores in entry["test"].items():
            _check_keys(scores, _SCORES, where, f"{at}test.{test}.")
            _check_more(scores, {"exact": _NUMBER}, where, f"{at}test.{test}.")
            for key in ("bleu_signature", "chrf_signature"):
                if not scores[key]:
                    raise DataError(f"{where}: {at}test.{test}.{key}: empty - no score without its signature")
    for row in (row for part in (data, *(data.get("runs") or [])) for row in part.get("significance") or []):
        if row["measure"] not in MEASURES:
            raise DataError(
                f"{where}: significance: measure: expected one of {', '.join(MEASURES)}, got {row['measure']!r}"
            )
    merged = any(isinstance(stage, dict) and "run" in stage for stage in data["stages"])
    for number, stage in enumerate(data["stages"]):
        _check_keys(stage, _STAGE, where, f"stages[{number}].")
        _check_more(stage, _MORE_OF_STAGE, where, f"stages[{number}].")
        for key, kinds in (("verdicts", _NUMBER), ("outputs", _TEXT)):
            _check_keys(
                stage.get(key) or {}, dict.fromkeys(stage.get(key) or {}, kinds), where, f"stages[{number}].{key}."
            )
        if merged:
            _check_keys(stage, {"run": _TEXT}, where, f"stages[{number}].")
        if stage["joules"] == 0:
            raise DataError(f"{where}: stages[{number}].joules: 0 - energy that was not measured is null, never 0")


def _check_more(value: Data, keys: Mapping[str, Any], where: str, at: str) -> None:
    """Checks what is there and not null."""
    for key, kinds in keys.items():
        if value.get(key) is None:
            continue
        found = {key: value[key]}
        if isinstance(kinds, list):
            _check_keys(found, {key: (list,)}, where, at)
            found, kinds = {f"{key}[{number}]": item for number, item in enumerate(value[key])}, kinds[0]
        for name, item in found.items():
            if not isinstance(kinds[0], dict):
                _check_keys(found, {name: kinds}, where, at)
                continue
            _check_keys(item, kinds[0], where, f"{at}{name}.")
            _check_more(item, kinds[1], where, f"{at}{name}.")


def _check_keys(value: Any, keys: Mapping[str, tuple[type, ...]], where: str, at: str) -> None:
    if not isinstance(value, dict):
        raise DataError(f"{where}: {at.rstrip('.') or 'data'}: expected an object, got {type(value).__name__}")
    for key, kinds in keys.items():
        names = " or ".join({"NoneType": "null", "dict": "object"}.get(kind.__name__, kind.__name__) for kind in kinds)
        if key not in value:
            raise DataError(f"{where}: {at}{key}: missing, expected {names} - docs/report.md has the schema")
        if not isinstance(value[key], kinds) or isinstance(value[key], bool):
            got = json.dumps(value[key])[:40]
            raise DataError(f"{where}: {at}{key}: expected {names}, got {got} - docs/report.md has the schema")
