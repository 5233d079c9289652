"""Reports from before stages had a kind and systems named the stages that made them: `distilmt distill`'s own names tell both."""

from __future__ import annotations

from typing import Any

_KINDS = {"teacher": "teacher-training", "label": "labelling", "student": "student-training", "evaluate": "evaluation"}


def complete(data: dict[str, Any]) -> None:
    """Adds `kind` to stages and `made_by` to systems that have none, where a name says it."""
    for stage in data["stages"]:
        if stage.get("kind") is None:
            stage["kind"] = _KINDS.get(stage["name"].split("-")[0])
    names = {(stage.get("run"), stage["name"]) for stage in data["stages"]}
    for entry in data["systems"]:
        own = "teacher" if entry["role"] == "teacher" else f"student-{entry.get('method')}-{entry.get('seed')}"
        made_by = ["label"] * (entry.get("recipe") == "seq-kd") + [own]
        if "made_by" not in entry and all((entry.get("run"), name) in names for name in made_by):
            entry["made_by"] = made_by
