"""`distilmt multilingual`: students of several directions, each direction with a teacher of its own (docs/multilingual.md).

Stages of the run folder:

    vocab              one for all directions, with their tags, unless one is given
    label-NAME         the teacher's labels of a direction that is distilled on sequence level
    teacher-NAME       its scores on the direction's dev and test sets
    student-GROUP      one training per group of directions
    evaluate-GROUP     that student on the test sets of its directions
    multilingual.json, multilingual.md
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.multilingual.directions import read_directions
from distilmt.multilingual.groups import grouped
from distilmt.text.lines import OnInvalidUtf8
from distilmt.train import TrainingOptions

if TYPE_CHECKING:
    from distilmt.multilingual.report import MultilingualResult

TAN = "0.1 * NLL(label_smoothing=0.1, smoothing='all') + 0.9 * WordKD(temperature=0.6)"  # weights and T of the released code


def _option(default: Any, help: str, metavar: str = "") -> Any:
    return field(default=default, metadata={"help": help, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class MultilingualConfig:
    """Options of `distilmt multilingual`."""

    directions: Any = field(
        metadata={
            "help": "in the --config file: by name what each learns from, docs/multilingual.md",
            "metavar": "MAPPING",
        }
    )
    out: str = field(metadata={"help": "the run folder"})
    size: str = _option("tiny", "of the students: a preset, or ENCxDEC:HIDDEN:FFN:HEADS")
    objective: str = _option(
        TAN, "what to minimise; its terms without a teacher are what a direction without one learns by"
    )
    switch: Literal["threshold", "adaptive", "fixed"] = _option(
        "threshold",
        "when a direction's teacher stops: ahead of it by --threshold, little by little, or never (Tan et al. 2019)",
    )
    threshold: float | None = _option(None, "dev BLEU above the teacher's [default: 1; adaptive: -2]")
    sampling_temperature: float = _option(5.0, "1 draws directions by size, more of it lets small ones have more")
    groups: Literal["one", "family", "given"] = _option(
        "one", "one student of all, one per language family, or by `group:`"
    )
    tags: Literal["auto", "always"] = _option(
        "auto", "target language first in every source; auto: where there are several"
    )
    spare_tags: tuple[str, ...] = _option(
        (), "target languages of later directions, to keep tags for in the vocabulary"
    )
    vocab: str | None = _option(None, "model folder whose vocabulary to use; default: train a joint one")
    vocab_size: int = _option(8000, "size of a vocabulary that is trained here")
    vocab_model: Literal["unigram", "bpe"] = _option("unigram", "kind of a vocabulary that is trained here")
    init_from: str | None = _option(
        None, "student to start from: a parent of other directions, or one to add directions to"
    )
    label_beam_size: int = _option(5, "beam size of the teachers' labels")
    test_beam_size: int = _option(5, "beam size on the test sets")
    new_run: bool = _option(False, "start over; what is there is moved aside")
    on_invalid_utf8: OnInvalidUtf8 = field(
        default="error", metadata={"help": "what to do with bytes that are no UTF-8"}
    )
    training: TrainingOptions = field(default_factory=TrainingOptions)
    metering: EnergyOptions = field(default_factory=EnergyOptions)

    def __post_init__(self) -> None:
        if not self.sampling_temperature > 0:
            raise ConfigError(f"--sampling-temperature must be positive, got {self.sampling_temperature}")
        grouped(read_directions(self.directions), self.groups)


def multilingual(config: MultilingualConfig | None = None, **options: Any) -> MultilingualResult:
    """Trains students of several directions, with a teacher per direction, and reports each direction.

    Called again, it goes on where it stopped.

    Args:
        config: a MultilingualConfig, or its fields as keywords; `directions` maps names to `Direction`s or their fields.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(MultilingualConfig, config, **options)
    from distilmt.multilingual.job import run

    return run(replace(config, directions=read_directions(config.directions)))
