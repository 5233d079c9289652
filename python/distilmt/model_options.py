"""Options shared by the commands that translate, label or score with a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a model is asked; keywords of `Translator`."""

    engine: Literal["native", "transformers"] = field(
        default="native", metadata={"help": "native, or transformers for models that it does not know"}
    )
    source_language: str | None = field(
        default=None, metadata={"help": "language tag of the source, as the model's tokenizer names it"}
    )
    target_language: str | None = field(
        default=None, metadata={"help": "language tag of the translation, as the model's tokenizer names it"}
    )
