"""What recipes need besides the training text, and how the teacher's labels are searched: options of `distill` and of studies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from distilmt.errors import ConfigError
from distilmt.knn.kind import Kind
from distilmt.translator.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.translator.compute_type import ComputeType

LISTS = {"seq-inter", "mbr", "gold-best", "n-best"}  # recipes that learn from n-best lists


@dataclass(frozen=True, kw_only=True)
class LabelSearch:
    """How the teacher labels; names carry the prefix `label_`."""

    beam_size: int = field(default=5, metadata={"help": "hypotheses followed at a time"})
    n_best: int | None = field(
        default=None, metadata={"help": "kept per line; default: 1, and the beam where a method chooses from lists"}
    )
    length_penalty: float = field(default=1.0, metadata={"help": "scores are divided by length to this power"})
    max_length: int = field(default=256, metadata={"help": "longest translation in tokens, end symbol included"})
    compute_type: ComputeType = field(default="auto", metadata={"help": COMPUTE_TYPE_HELP})

    def __post_init__(self) -> None:
        if self.n_best is not None and not 1 <= self.n_best <= self.beam_size:
            raise ConfigError(
                f"label_n_best must lie between 1 and the beam size ({self.beam_size}), got {self.n_best}"
            )

    def for_recipes(self, recipes: set[str]) -> LabelSearch:
        """With `n_best` as these recipes need it, unless it was given."""
        if self.n_best is not None:
            return self
        return replace(self, n_best=self.beam_size if LISTS & recipes else 1)


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What some recipes and methods need besides the training text."""

    pseudo_share: float = field(
        default=0.5, metadata={"help": "of mixed and hybrid: the teacher's share of the targets, or of the batches"}
    )
    keep: int = field(default=2, metadata={"help": "of gold-best and n-best: hypotheses of each list to learn from"})
    reverse_teacher: str | None = field(
        default=None, metadata={"help": "a model of the other direction, for back-translations and --drop-worst"}
    )
    monolingual_source: str | None = field(
        default=None, metadata={"help": "more text of the source language, for forward", "metavar": "FILE"}
    )
    monolingual_target: str | None = field(
        default=None,
        metadata={"help": "more text of the target language, for round-trip and denoise", "metavar": "FILE"},
    )
    subset: float = field(
        default=1.0, metadata={"help": "share of the training pairs to keep, drawn once by the seed 1"}
    )
    drop_worst: float = field(
        default=0.0,
        metadata={
            "help": "share of pseudo pairs to drop whose source the reverse teacher finds least likely (Bergamot: 0.05)"
        },
    )

    sample_top_k: int = field(
        default=40, metadata={"help": "of sampled: likeliest words that the teacher draws from; 0: from all"}
    )
    rounds: int = field(default=3, metadata={"help": "of noisy-student: students, each the teacher of the next"})
    knn_k: int = field(default=64, metadata={"help": "of knn-kd: neighbours of a token"})
    knn_exclude: Literal["none", "token", "sentence"] = field(
        default="none",
        metadata={"help": "of knn-kd: leave out a token's own entry, or its sentence's; none: as published"},
    )
    knn_index: Kind = field(
        default="auto", metadata={"help": "of knn-kd: exact, ivf or pq; auto: exact up to 200,000 tokens"}
    )

    init_layers: Literal["published", "every-nth"] = field(
        default="published",
        metadata={"help": "of layers: which of the teacher's: DistilBART's tables, or one of every n"},
    )

    def __post_init__(self) -> None:
        for name, low, high in (("pseudo_share", 0, 1), ("drop_worst", 0, 0.99)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"--{name.replace('_', '-')} must lie in [{low}, {high}], got {getattr(self, name)}")
        if not 0 < self.subset <= 1:
            raise ConfigError(f"--subset must lie in (0, 1], got {self.subset}")
        if self.sample_top_k < 0:
            raise ConfigError(f"--sample-top-k must be at least 0, got {self.sample_top_k}")
        if not 1 <= self.knn_k <= 1024:
            raise ConfigError(f"--knn-k must lie in [1, 1024], got {self.knn_k}")
        if self.rounds < 2:
            raise ConfigError(f"--rounds must be at least 2, got {self.rounds} - one round is --method gold-kd")
        if self.keep < 1:
            raise ConfigError(f"--keep must be at least 1, got {self.keep}")
        if self.drop_worst and self.reverse_teacher is None:
            raise ConfigError("--drop-worst asks a model of the other direction: name it with --reverse-teacher, or train one by "
                              "`distilmt train --train TARGET SOURCE ...`")  # fmt: skip

    def read_by(self, found: set[str]) -> RecipeOptions:
        """Without what none of these recipes and losses reads."""
        plain = type(self)()
        unread = {name: getattr(plain, name) for name, readers in READERS.items() if not readers & found}
        if "drop_worst" not in unread and self.drop_worst:
            unread.pop("reverse_teacher", None)
        return replace(self, **unread)

    def check(self, found: set[str]) -> None:
        """Of these recipes and losses. Raises: ConfigError: one lacks what it needs, or none of them reads an option."""
        for recipe in sorted(found):
            for name in NEEDS.get(recipe, ()):
                if getattr(self, name) is None:
                    raise ConfigError(f"recipe {recipe} needs --{name.replace('_', '-')}: {REMEDIES[name]}")
        for name, readers in READERS.items():
            if getattr(self, name) != getattr(type(self)(), name) and not readers & found:
                if name == "reverse_teacher" and self.drop_worst:
                    continue
                raise ConfigError(
                    f"--{name.replace('_', '-')} is of {', '.join(sorted(readers))}, which this run has not - leave it out"
                )


BACK = "a model of the other direction, trained by `distilmt train --train TARGET SOURCE ...`"
REMEDIES = {
    "reverse_teacher": BACK, "monolingual_source": "a file of source text", "monolingual_target": "a file of target text",
}  # fmt: skip
NEEDS = {
    "gold-kd-bt": ("reverse_teacher",), "forward": ("monolingual_source",),
    "round-trip": ("reverse_teacher", "monolingual_target"),
}  # fmt: skip
READERS = {
    "sample_top_k": {"sampled"}, "rounds": {"noisy-student"}, "init_layers": {"layers"},
    "knn_k": {"KNNKD"}, "knn_exclude": {"KNNKD"}, "knn_index": {"KNNKD"},
    "pseudo_share": {"mixed", "hybrid"}, "keep": {"gold-best", "n-best"}, "monolingual_source": {"forward"},
    "monolingual_target": {"round-trip", "denoise"}, "reverse_teacher": {"gold-kd-bt", "round-trip"},
    "drop_worst": {"seq-kd", "gold-kd", "gold-kd-bt", "hybrid", "forward", "round-trip"},
}  # fmt: skip
