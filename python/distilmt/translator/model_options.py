"""Options shared by the commands that translate, label or score with a model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distilmt.errors import ConfigError
from distilmt.knn.kind import PROBES, Kind
from distilmt.translator.attention import HELP as ATTENTION_HELP
from distilmt.translator.attention import Attention
from distilmt.translator.device import HELP as DEVICE_HELP
from distilmt.translator.search import DEFAULTS

if TYPE_CHECKING:
    from distilmt.translate import Translator
    from distilmt.translator.neighbours import Neighbours


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a model is asked, and with whom; keywords of `Translator`, but for `also`."""

    engine: Literal["native", "transformers"] = field(
        default="native", metadata={"help": "native, or transformers for models that it does not know"}
    )
    device: str = field(default="cpu", metadata={"help": DEVICE_HELP})
    attention: Attention = field(default="auto", metadata={"help": ATTENTION_HELP})
    source_language: str | None = field(
        default=None, metadata={"help": "language tag of the source, as the model's tokenizer names it"}
    )
    target_language: str | None = field(
        default=None, metadata={"help": "language tag of the translation, as the model's tokenizer names it"}
    )
    also: tuple[str, ...] = field(
        default=(),
        metadata={"help": "further models of its vocabulary: all together are an ensemble", "metavar": "MODEL..."},
    )
    ensemble: Literal["arithmetic", "geometric"] = field(
        default="arithmetic", metadata={"help": "mean of an ensemble: of probabilities, or of log-probabilities"}
    )
    weights: tuple[float, ...] | None = field(
        default=None, metadata={"help": "how much each model of an ensemble counts, in any unit; default: equally"}
    )


@dataclass(frozen=True, kw_only=True)
class SearchFlags:
    """What is asked of a search: the keywords of `distilmt.translator.search.SearchOptions`, which says each in full."""

    beam_size: int | None = field(
        default=None,
        metadata={"help": "hypotheses followed at a time; 1 is greedy search [default: 5, or what --n-best needs]"},
    )
    n_best: int = field(default=1, metadata={"help": "translations per line, best first, behind the line's number"})
    length_penalty: float = field(default=1.0, metadata={"help": "scores are divided by length to this power"})
    length_penalty_form: Literal["power", "gnmt"] = field(
        default="power", metadata={"help": "length itself, or (5 + length) / 6"}
    )
    coverage_penalty: float = field(
        default=0.0, metadata={"help": "weight of what a translation left unread of its source"}
    )
    patience: float = field(default=1.0, metadata={"help": "finished hypotheses searched for, by beam size"})
    early_stopping: bool | Literal["never", "exact"] = field(
        default=False, metadata={"help": "stop as soon as enough are finished; never and exact: when none can improve"}
    )
    max_length: int = field(default=256, metadata={"help": "longest translation in tokens, end symbol included"})
    min_length: int = field(default=0, metadata={"help": "shortest translation in tokens, end symbol included"})
    repetition_penalty: float | None = field(
        default=None, metadata={"help": "above 1: against words that stand there already; default: the model's own"}
    )
    no_repeat_ngram_size: int | None = field(
        default=None, metadata={"help": "no n-gram of this size twice; default: the model's own"}
    )
    sample: bool = field(default=False, metadata={"help": "draw --n-best samples instead of searching"})
    temperature: float = field(default=1.0, metadata={"help": "of samples: logits are divided by it"})
    top_k: int = field(default=0, metadata={"help": "samples come from so many best words; 0: from all"})
    top_p: float = field(default=1.0, metadata={"help": "samples come from the best words that hold this mass"})
    seed: int = field(default=0, metadata={"help": "of samples: another one gives others"})

    def options(self) -> dict[str, Any]:
        """The keywords; the beam holds --n-best hypotheses where its size was not given."""
        found, least = asdict(self), 1
        if not self.sample and self.patience > 0:
            least = math.ceil(self.n_best / self.patience)
        if self.beam_size is None:
            found["beam_size"] = max(DEFAULTS["beam_size"], least)
        return found


@dataclass(frozen=True, kw_only=True)
class NeighbourOptions:
    """kNN-MT (docs/knn.md): a datastore that is asked at every step; names carry the prefix `knn_`."""

    datastore: str | None = field(
        default=None,
        metadata={"help": "ask this datastore at every step (kNN-MT; distilmt knn build)", "metavar": "FOLDER"},
    )
    k: int = field(default=8, metadata={"help": "neighbours of a step (published: 4 to 64)"})
    temperature: float = field(default=10.0, metadata={"help": "divides their squared distances (10 or 100)"})
    weight: float = field(default=0.5, metadata={"help": "their share in each step, lambda (0.3 to 0.8)"})
    index: Kind = field(default="auto", metadata={"help": "exact, ivf or pq; auto: by the number of tokens"})
    probes: int = field(default=PROBES, metadata={"help": "cells of ivf and pq that are searched"})

    def __post_init__(self) -> None:
        given = [f"--knn-{each.name}" for each in fields(self) if getattr(self, each.name) != each.default]
        if given and self.datastore is None:
            raise ConfigError(f"{', '.join(given)}: of a datastore that is asked: name it with --knn-datastore")

    def finder(self, model: str, threads: int | None = None) -> Neighbours | None:
        """What `Translator.translate(neighbours=...)` takes; None without a datastore.

        Raises: ConfigError, DataError: as `Datastore` and its `finder`.
        """
        if self.datastore is None:
            return None
        from distilmt.knn import Datastore

        store = Datastore(self.datastore, threads=threads, index=self.index, probes=self.probes)
        return store.finder(k=self.k, temperature=self.temperature, weight=self.weight, model=model)


def translator_of(model: str, asked: ModelOptions, **options: Any) -> Translator:
    """The translator of a model, or of the ensemble that it leads; `options` are keywords of Translator."""
    from distilmt.translate import Translator

    given = asdict(asked)
    folders = [folder_of(each) for each in (model, *given.pop("also"))]
    return Translator(folders if len(folders) > 1 else folders[0], **given, **options)


def folder_of(model: str) -> Path:
    """The model's folder; only a hub name pays for the import of torch, which the native translator has no need of."""
    if Path(model).is_dir():
        return Path(model)
    from distilmt.models import folder_of as from_hub

    return from_hub(model)
