"""The progress bar where standard error is a file."""

from __future__ import annotations

import io
import sys

from distilmt import progress


def test_a_file_gets_lines_and_the_last_one_is_complete(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.bar(200, "labelling", "line", done=100) as bar:
        for _ in range(100):
            bar.update(1)
    text = stream.getvalue()
    assert "\r" not in text and text.endswith("\n")
    first, *_, last = text.splitlines()
    assert first.startswith("labelling:  50%") and "200/200" in last and "100%" in last
