"""Significance across runs: the systems of several run folders compared as those of one, where the test text is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distilmt.errors import ConfigError, DataError
from distilmt.report.data import Report
from distilmt.report.numbers import Data, systems_of

UNTESTED = "No significance across the runs was tested: "


def test_across(whole: Report, folders: Sequence[str], against: str | None = None) -> None:
    """Adds to a merged report the tests of all students against one system, or a note that says why there are none.

    Entries of one name are seeds of one system, whichever run they are of; Holm's correction is over all rows
    (distilmt.statistics.significance).

    Args:
        whole: the report of `folders`, in this order.
        against: a system's name in that report; None: the first student alone, or the teacher where there is none.
    Raises: ConfigError: no system has this name.
    """
    from distilmt.statistics.significance import corrected, significance

    systems = systems_of(whole.data)
    names = [system.name for system in systems]
    against = against or next((each.name for each in systems if each.role == "baseline"), names[0])
    if against not in names:
        raise ConfigError(f"--against {against!r}: the report has {', '.join(map(repr, names))}")
    students = [each.name for each in systems if each.role == "student" and each.name != against]
    rows: list[Data] = []
    try:
        runs = dict(zip([run["label"] for run in whole.data["runs"]], map(_Run, folders), strict=False))
        texts = _texts(whole.data["runs"], list(runs.values()))
        for test, (lines, language) in texts.items() if students else ():
            hypotheses = {
                each.name: by_seed([(entry.get("seed"), runs[entry["run"]].lines(entry, test)) for entry in each.entries])
                for each in systems if each.name in (against, *students)
            }  # fmt: skip
            found = significance([against, *students], hypotheses, lines, target_lang=language)
            rows += [{"test_set": test} | row for row in found]
    except DataError as error:
        whole.data["notes"] = [*(whole.data.get("notes") or []), f"{UNTESTED}{error}."]
        return
    whole.data["significance"] = corrected(rows)


test_across.__test__ = False  # type: ignore[attr-defined]  # its name looks like a test's to pytest


def by_seed(found: Sequence[tuple[int | None, list[str]]]) -> dict[int, list[str]]:
    """Translations by training seed; by number where runs have trained with the same seed. A model met twice counts once."""
    models = list({(seed, tuple(lines)): (seed or 0, lines) for seed, lines in found}.values())
    unique = len({seed for seed, _ in models}) == len(models)
    return {seed if unique else number: lines for number, (seed, lines) in enumerate(models)}


class _Run:
    """A run folder: its test texts as `run.json` names them, and the translations that it kept."""

    def __init__(self, folder: str) -> None:
        from distilmt.state.storage import read_json

        self.folder = Path(folder)
        if not (self.folder / "run.json").exists():
            raise DataError(f"{folder} is no run folder, so its translations are not at hand")
        self.tests: list[Any] = read_json(self.folder / "run.json", "restore it")["config"].get("test") or []

    def lines(self, entry: Mapping[str, Any], test: str) -> list[str]:
        path = self.folder / str((entry.get("hypotheses") or {}).get(test, ""))
        if not path.is_file():
            raise DataError(f"{self.folder} kept no translations of {test} by {entry['name']}")
        return path.read_bytes().decode().split("\n")[:-1]


def _texts(described: Sequence[Data], runs: Sequence[_Run]) -> dict[str, tuple[list[str], str]]:
    """References and language of each test set that is the same text in all runs."""
    from distilmt.corpus import load_corpus
    from distilmt.text.files import language_of

    known = [
        {text["name"]: text.get("target_hash") for text in (run.get("setup") or {}).get("texts") or []}
        for run in described
    ]
    found = {}
    for name, (source, target) in zip(list(known[0])[2:], runs[0].tests, strict=False):  # behind train and dev
        if any(each.get(name) != known[0][name] for each in known):
            continue
        text = load_corpus((source, target))
        if text.target_hash != known[0][name]:
            raise DataError(f"{target} is not the text that the runs were scored with")
        found[name] = (list(text.targets), language_of(target))
    if not found:
        raise DataError("they have no test set in common")
    return found
