"""The data of one report, and the files that are written of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilmt.bill.bill import rates_of, summary
from distilmt.bill.older import complete
from distilmt.errors import DataError
from distilmt.report.numbers import Data
from distilmt.report.schema import check
from distilmt.report.sections import markdown, said
from distilmt.state.storage import disk_errors, plain, read_json, write_bytes, write_json


class Report:
    """One report.

    Args:
        source: a run folder, a report.json, or the data itself (schema: docs/report.md).

    `data` is what report.json holds; numbers that are not finite have become None there, for JSON has none.

    Raises:
        DataError: there is no report, it is damaged, or a required key is missing; the message names it.
    """

    def __init__(self, source: str | os.PathLike[str] | Mapping[str, Any]):
        where = "report"  # in messages
        if isinstance(source, Mapping):
            self.data: Data = plain(dict(source))
            self.name = "run"
        else:
            path = Path(source)
            path = path / "report.json" if path.is_dir() else path
            if not path.exists():
                raise DataError(f"{path}: no report here - `distilmt distill` writes it at its end; has it ended?")
            self.name = path.resolve().parent.name
            where, self.data = str(path), read_json(path, "restore it, or run `distilmt distill` again to rewrite it")
        check(self.data, where)
        complete(self.data)
        self.saved: Path | None = None

    def markdown(self) -> str:
        """Tables without the plots."""
        return markdown(self.data)

    def html(self) -> str:
        """Tables and plots as one file that loads nothing."""
        from distilmt.report.page import page

        return page(self.data)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes report.json, report.md and report.html into `folder`.

        Returns: The path of report.html.
        Raises: ResourceError: the disk refuses.
        """
        path = Path(folder)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        write_json(
            path / "report.json", self.data | {"bill": summary(self.data, rates_of(self.data)), **said(self.data)}
        )
        write_bytes(path / "report.md", self.markdown().encode())
        self.saved = path / "report.html"
        write_bytes(self.saved, self.html().encode())
        return self.saved

    def __str__(self) -> str:
        return self.markdown() + (f"\nreport: {self.saved}\n" if self.saved else "")

    def _repr_html_(self) -> str:
        from distilmt.report.page import body

        return body(self.data)
