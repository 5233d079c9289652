"""Every notebook runs from a fresh kernel, offline, and is short."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) <= 10
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    client = NotebookClient(
        notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    report = next(cell for cell in notebook.cells if cell.source == "result.report")
    assert "student word-kd" in report.outputs[0]["data"]["text/html"]
