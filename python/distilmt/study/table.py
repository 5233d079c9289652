"""The tidy table of a study: one row per cell that was begun, one column per factor, outcome and condition.

Order of columns: block, position, the factors (names of levels, as text), status, outcomes of a pass, then conditions
(host, noise, ...). What is unknown is None: an empty field of the CSV.
"""

from __future__ import annotations

import csv
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distilmt.bill.rates import cost_of
from distilmt.energy import Usage
from distilmt.errors import ConfigError
from distilmt.state.storage import write_bytes
from distilmt.study.measure import MODELLED
from distilmt.study.records import Record, record_of, require_same
from distilmt.study.spec import Source, Study, read

Row = dict[str, Any]


def rows(source: Source) -> list[Row]:
    """The table as a list of dicts, all with the same keys, in the order of the run.

    Raises:
        ConfigError: the study file is no longer the one that the cells were run with.
    """
    study = read(source)
    require_same(study)
    found = [(cell, record) for cell in study.cells() if (record := record_of(study, cell))]
    table = []
    for cell, record in found:
        row = {"block": cell.block, "position": record["position"]} | cell.levels | {"status": record["status"]}
        if record["status"] == "done":
            row |= record["outcomes"] | _bill(study, record) | _modelled(study, record)
        table.append((row, _conditions(record)))
    outcomes = {key: None for row, _ in table for key in row}
    conditions = {key: None for _, more in table for key in more}
    return [outcomes | row | conditions | more for row, more in table]


def _bill(study: Study, record: Record) -> Row:
    """kWh, CO2e and money of a pass, at the prices of the study file as it is now."""
    found = cost_of(study.config.rates, Usage(**record["usage"]))
    amounts = {"kwh": found.kwh, "co2e_kg": found.co2e_kg, "money": found.money}
    return {name: amount.value / record["passes"] for name, amount in amounts.items() if amount}


def _modelled(study: Study, record: Record) -> Row:
    """Joules of what was not measured, by the declared watts of the processors and its own seconds alone:

    idle * seconds + (full - idle) * cpu_seconds / processors. A pass, the training and the labels.
    """
    if study.config.model_watts is None:
        return {}
    (idle, full), outcomes = study.config.model_watts, record["outcomes"]
    found = {}
    for name in MODELLED:
        what = name.removesuffix("joules_model")
        seconds, cpu_seconds = outcomes.get(f"{what}seconds"), outcomes.get(f"{what}cpu_seconds")
        measured = outcomes.get(f"{what}joules") is not None and record["usage"]["energy_kind"] == "measured"
        if seconds is not None and cpu_seconds is not None and not measured:
            found[name] = idle * seconds + (full - idle) * cpu_seconds / (record["usage"].get("cpus") or 1)
    return found


def _names(study: Study, record: Record) -> list[str]:
    return [*record["outcomes"], *_bill(study, record), *_modelled(study, record)]


def _conditions(record: Record) -> Row:
    usage = record.get("usage", {})
    return {
        "passes": record.get("passes"),
        "timed_seconds": usage.get("seconds"),
        "energy_kind": usage.get("energy_kind"),
        "energy_method": usage.get("energy_method"),
        "wall_seconds": record.get("wall_seconds"),
        "attempts": record["attempts"],
        "host": record["host"],
        "began": record["began"],
        "error": record.get("error"),
        **record.get("noise", {}),
    }


def frame(source: Source) -> Any:
    """The table as a pandas DataFrame.

    Raises:
        ConfigError: pandas is not installed, or the study file has changed.
    """
    from distilmt.statistics.extra import library  # brings NumPy, which a cell has no need of

    return library("pandas").DataFrame(rows(source))


def save(study: Study) -> list[Path]:
    """Writes `cells.csv`, and `cells.parquet` where the extra `study` is installed; returns their paths.

    Raises:
        ResourceError: the disk refuses.
    """
    table = rows(study)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]) if table else ["block"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    written = [study.folder / "cells.csv"]
    write_bytes(written[0], text.getvalue().encode())
    if find_spec("pyarrow") is None:
        return written
    from distilmt.statistics.extra import library

    buffer = io.BytesIO()
    library("pyarrow.parquet").write_table(library("pyarrow").Table.from_pylist(table), buffer)
    written.append(study.folder / "cells.parquet")
    write_bytes(written[1], buffer.getvalue())
    return written


def outcome_names(study: Study) -> list[str]:
    """What the report shows, in order: the outcomes that the study file names, else all that the cells have.

    Raises:
        ConfigError: the file names an outcome that no cell has.
    """
    records = [record for cell in study.cells() if (record := record_of(study, cell)).get("status") == "done"]
    found = list({name: None for record in records for name in _names(study, record)})
    for name in study.config.outcomes:
        if found and name not in found:
            raise ConfigError(f"outcomes: no cell has {name!r} - there are {', '.join(found)}")
    return [*study.config.outcomes] or found
