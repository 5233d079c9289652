"""`distilmt quickstart`: the main job on a German-English corpus that the package writes itself (text/grammar.py).

Every line has exactly one correct translation, so beside BLEU the share of lines that are exactly right says who has learnt the
grammar. The sizes were chosen so that on two idle cores all of it takes about 200 seconds, and so that the student, trained alone,
stays clearly behind its teacher (docs/quickstart.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distilmt.distill import DistillConfig, DistillResult, distill
from distilmt.distilling.recipe_options import LabelSearch
from distilmt.energy import EnergyOptions
from distilmt.interface.config import resolve
from distilmt.train import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Options of `distilmt quickstart`."""

    out: str = field(default="quickstart", metadata={"help": "the run folder; the corpus is written to OUT-data"})
    seed: int = field(default=1, metadata={"help": "of corpus, weights and data order"})
    method: str = field(default="word-kd,seq-kd,seq-kd+word-kd", metadata={"help": "methods, separated by commas"})
    new_run: bool = field(default=False, metadata={"help": "start over; what is there is moved aside"})
    metering: EnergyOptions = field(default_factory=EnergyOptions)


SIZES = {"train": 20_000, "dev": 300, "test": 1000}
_COMMON = TrainingOptions(updates=600, batch_tokens=2304, dropout=0.0, max_positions=64, log_every=25)
TEACHER = replace(_COMMON, learning_rate=3e-3, warmup=120, eval_every=300)
STUDENT = replace(_COMMON, updates=300, learning_rate=8e-3, warmup=60, eval_every=100)


def quickstart(config: QuickstartConfig | None = None, **options: Any) -> DistillResult:
    """Writes a corpus, trains a teacher, distils it into a student in several ways and reports what was gained.

    Args:
        config: a QuickstartConfig, or its fields as keywords.
    Raises: ConfigError, ResourceError.
    """
    config = resolve(QuickstartConfig, config, **options)
    return distill(quickstart_config(config, write_corpus(Path(config.out + "-data"), config.seed, **SIZES)))


def write_corpus(folder: Path, seed: int, *, train: int, dev: int, test: int) -> dict[str, tuple[str, str]]:
    """Writes `train`, `dev` and `test` (.de and .en) and returns their paths; the same seed gives the same bytes."""
    from distilmt.corpus import write_lines
    from distilmt.text.grammar import splits

    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, pairs in zip(("train", "dev", "test"), splits(train, dev, test, seed), strict=True):
        paths[name] = (str(folder / f"{name}.de"), str(folder / f"{name}.en"))
        for side, path in enumerate(paths[name]):
            write_lines(path, [pair[side] for pair in pairs])
    return paths


def quickstart_config(config: QuickstartConfig, text: dict[str, tuple[str, str]]) -> DistillConfig:
    """The distillation that the quickstart runs on its corpus."""
    return DistillConfig(
        train=text["train"], dev=text["dev"], test=(text["test"],), out=config.out, new_run=config.new_run,
        metering=config.metering,
        teacher_size="2x2:128:512:4", student_size="1x1:64:256:4", method=config.method, vocab_size=1000, vocab_model="bpe",
        exact=True, label=LabelSearch(beam_size=4), test_beam_size=4,
        title="Quickstart: a generated German-English corpus", seeds=(config.seed,),
        training=replace(STUDENT, seed=config.seed), teacher_training=replace(TEACHER, seed=config.seed),
    )  # fmt: skip
