"""What a translator is given: texts and ids, checked, each error with its place."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Sequence

from distilmt.errors import ConfigError, DataError


def blank(text: str) -> bool:
    """Nothing but white space and invisible format characters (zero-width space, byte order mark ...)."""
    return all(c.isspace() or unicodedata.category(c) == "Cf" for c in text)


def checked_texts(name: str, texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise ConfigError(f"{name}: expected a list of texts, got one text - put it in a list")
    try:
        found = list(texts)
    except TypeError:
        raise ConfigError(f"{name}: expected a list of texts, got {texts!r}") from None
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise ConfigError(f"{name}[{index}]: expected a text, got {text!r}")
    return found


def checked_ids(name: str, id_lists: Sequence[Sequence[int]], vocab: int) -> list[list[int]]:
    try:
        lists = [[operator.index(i) for i in ids] for ids in id_lists]
    except TypeError as error:
        raise ConfigError(
            f"{name}: expected a list of lists of whole numbers ({error}) - one list per sentence"
        ) from None
    for index, ids in enumerate(lists):
        if ids and (min(ids) < 0 or max(ids) >= vocab):
            wrong = next(i for i in ids if not 0 <= i < vocab)
            raise DataError(
                f"{name}[{index}]: ids must lie in [0, {vocab}), got {wrong} - encode with the model's vocabulary"
            )
    return lists
