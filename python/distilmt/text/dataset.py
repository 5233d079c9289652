"""Text columns of Hugging Face datasets, by the optional package `datasets`.

A column is written like a file, `hf:NAME:SPLIT:COLUMN` or, for a dataset with configurations, `hf:NAME:CONFIG:SPLIT:COLUMN`:
`hf:bentrevett/multi30k:train:de`, `hf:wmt/wmt14:de-en:test:translation.en`, `hf:my/folder:train:source`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from distilmt.errors import ConfigError, DataError

PREFIX = "hf:"


class Column(NamedTuple):
    """One text column; `config` is None for a dataset that has a single configuration."""

    name: str
    config: str | None
    split: str
    column: str


def is_column(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a column of a dataset."""
    return os.fspath(path).startswith(PREFIX)


def parse_column(path: str | os.PathLike[str]) -> Column:
    """Takes `hf:NAME[:CONFIG]:SPLIT:COLUMN` apart; ConfigError for anything else."""
    parts = os.fspath(path).removeprefix(PREFIX).split(":")
    if not is_column(path) or len(parts) not in (3, 4) or not all(parts):
        raise ConfigError(
            f"{path}: a column of a dataset is written hf:NAME:SPLIT:COLUMN or hf:NAME:CONFIG:SPLIT:COLUMN"
        )
    return Column(parts[0], parts[1] if len(parts) == 4 else None, *parts[-2:])


def read_columns(
    name_or_folder: str | os.PathLike[str], columns: tuple[str, ...], split: str, config: str | None = None
) -> list[list[str]]:
    """The named columns of one split, a missing cell as "".

    Args:
        name_or_folder: Hub name, a folder of data files, or a folder that `save_to_disk` wrote.
        columns: Each a column of strings, or `translation.de` for a key of a column of dictionaries.
        split: Name of the split.
        config: Name of the configuration, where the dataset has several.

    Raises:
        ConfigError: `datasets` is not installed, or there is no such split or column.
        DataError: The dataset cannot be loaded, or a cell is not text.
    """
    rows = _load(os.fspath(name_or_folder), split, config)
    return [_column(rows, column, f"{os.fspath(name_or_folder)}[{split}]") for column in columns]


def _load(name: str, split: str, config: str | None) -> Any:
    try:
        import datasets
    except ImportError:
        raise ConfigError(f"{name}: needs the package `datasets` - pip install 'distilmt[datasets]'") from None
    saved = any((Path(name) / file).exists() for file in ("dataset_dict.json", "dataset_info.json", "state.json"))
    try:
        loaded = datasets.load_from_disk(name) if saved else datasets.load_dataset(name, config)
    except Exception as error:  # whatever the network, the parsers or the hub raise, the remedy is the same
        raise DataError(
            f"{name}: datasets {datasets.__version__} cannot load it ({error}) - check name and files"
        ) from error
    if not isinstance(loaded, dict):
        return loaded
    if split not in loaded:
        raise ConfigError(f"{name}: no split {split} - it has {', '.join(loaded)}")
    return loaded[split]


def _column(rows: Any, column: str, name: str) -> list[str]:
    top, key = (column, "") if column in rows.column_names else column.partition(".")[::2]
    if top not in rows.column_names:
        raise ConfigError(f"{name}: no column {column} - it has {', '.join(rows.column_names)}")
    texts = []
    for number, cell in enumerate(rows[top], 1):
        text = cell.get(key) if key and isinstance(cell, dict) else cell
        if text is not None and not isinstance(text, str):
            kind = type(text).__name__
            raise DataError(f"{name}.{column}:{number}: {kind}, expected text - name a column of strings")
        texts.append(text or "")
    return texts
