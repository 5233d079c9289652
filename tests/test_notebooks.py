"""Every notebook runs from a fresh kernel, offline, and is short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def check_quickstart(notebook: nbformat.NotebookNode) -> None:
    report = next(cell for cell in notebook.cells if cell.source == "result.report")
    assert "student word-kd" in report.outputs[0]["data"]["text/html"]


def check_translate(notebook: nbformat.NotebookNode) -> None:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output["text"] for output in outputs if output.output_type == "stream")
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1

    assert "alone as in company: True" in printed and "in other company: True" in printed
    assert "times float32" in printed
    statuses = ("ok", "empty_source", "max_length", "too_long", "split")
    assert all(f": {status:12} '" in printed for status in statuses)


def check_bill(notebook: nbformat.NotebookNode) -> None:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = "".join(output.get("data", {}).get("text/markdown", "") for output in outputs)
    printed = "".join(output["text"] for output in outputs if output.output_type == "stream")
    for title in (
        "what making cost",
        "what one more cost",
        "what serving a million words costs",
        "Quality kept against",
    ):
        assert title in shown
    assert "≈" in shown and "estimated, not measured (model)" in shown
    assert "seq-kd+word-kd | 31% ± 3 | 0.307 |" in printed and "Left out: carbon" in printed
    assert "Germany 2023" in printed and "France 2023" in printed and "CO2e needs --country" in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1


def check_study(notebook: nbformat.NotebookNode) -> None:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(
        output["text"] for output in outputs if output.output_type == "stream" and output.name == "stdout"
    )
    shown = [output.get("data", {}) for output in outputs]
    assert printed.count("12 of 12 cells done") == 2 and "4 of 4 cells done" in printed
    assert "min_seconds: 0.5 -> 2" in printed
    assert "4 of 6 cells done, 2 failed" in printed
    reports = [data["text/markdown"] for data in shown if "text/markdown" in data]
    assert "Planned: tokens_per_second by beam_size" in reports[0] and "no ranking by energy is claimed" in reports[0]
    assert "Unbalanced" in reports[1] and "One repetition" in reports[1]
    assert sum("image/png" in data for data in shown) == 1


def check_labelling(notebook: nbformat.NotebookNode) -> None:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output["text"] for output in outputs if output.output_type == "stream")
    assert "exit code -9" in printed and "same bytes: True" in printed and "none of another verdict: True" in printed
    assert "every line once; results as recorded" in printed


def check_methods(notebook: nbformat.NotebookNode) -> None:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output["text"] for output in outputs if output.output_type == "stream")
    assert "JensenShannon()" in printed
    report = next(cell for cell in notebook.cells if cell.source.endswith("result.report"))
    assert all(
        f"student {name}" in report.outputs[-1]["data"]["text/html"]
        for name in ("word-kd", "seq-kd", "selective-global", "js")
    )
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


# By name: how many cells it may have, and what its outputs hold.
CHECKS: dict[str, tuple[int, Callable[[nbformat.NotebookNode], None]]] = {
    "bill": (14, check_bill),
    "labelling": (14, check_labelling),
    "methods": (9, check_methods),
    "quickstart": (10, check_quickstart),
    "study": (15, check_study),
    "translate": (16, check_translate),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    cells, check = CHECKS[path.stem]
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) <= cells
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    client = NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    check(notebook)
