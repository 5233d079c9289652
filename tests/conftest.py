"""Fixtures of the whole suite. Nothing here needs a network, a device or `../shared`."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real text and models beside the checkout; for tests marked `data`."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data and ../shared/models, which lie beside the checkout of the developers")
    return SHARED
