"""`distilmt label`: a teacher translates a text as a job that can be killed and continued (docs/labelling.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distilmt.energy import EnergyOptions
from distilmt.errors import ConfigError, DataError
from distilmt.interface.config import resolve
from distilmt.labels.verdicts import VerdictOptions
from distilmt.text.lines import OnInvalidUtf8
from distilmt.translator.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.translator.compute_type import ComputeType
from distilmt.translator.model_options import ModelOptions, SearchFlags

if TYPE_CHECKING:
    from distilmt.bill.forecast import Forecast
    from distilmt.run import Run

LINES, DEVICE_LINES = 1000, 16_000  # a device has a thousand in flight, and fewer and fewer at the end of a call


def lines_field(help: str) -> Any:
    """A field of lines, by default what `fill_in_lines` gives it."""
    return field(default=None, metadata={"help": f"{help}; default: {LINES:,}, on a CUDA device {DEVICE_LINES:,}"})


def fill_in_lines(config: Any, device: str) -> None:
    """Gives the shard_lines and batch_lines of a configuration, where they are None, the default of a device."""
    for name in ("shard_lines", "batch_lines"):
        if getattr(config, name) is None:
            object.__setattr__(config, name, LINES if device == "cpu" else DEVICE_LINES)


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """Options of `distilmt label`."""

    model: str = field(metadata={"help": "the teacher: a model's folder or hub name"})
    source: str = field(metadata={"help": "text to translate, one sentence a line; plain, .gz, .xz or .zst"})
    out: str = field(metadata={"help": "folder of the job; the same command again goes on in it"})
    target: str | None = field(
        default=None, metadata={"help": "its gold translations, line by line: with --soft-labels these get theirs too"}
    )
    soft_labels: int = field(
        default=0, metadata={"help": "likeliest words to keep per token of the best translation; 0: none"}
    )
    soft_floor: float = field(default=0.001, metadata={"help": "words less probable are left out of the soft labels"})
    too_long: Literal["skip", "truncate", "split"] = field(
        default="skip", metadata={"help": "what to do with a line of more tokens than the model has positions"}
    )
    workers: int = field(default=1, metadata={"help": "processes that share the work on this machine"})
    threads: int | None = field(
        default=None, metadata={"help": "threads of all workers together; default: all CPUs this process may use"}
    )
    shard: str | None = field(
        default=None, metadata={"help": "work at every N-th shard alone, from the I-th (1 to N)", "metavar": "I/N"}
    )
    shard_lines: int = lines_field("lines of a shard, which one worker takes at a time and three small files are about")
    batch_lines: int = lines_field("lines decoded and written at a time: most that a kill costs")
    lease_seconds: float = field(
        default=60.0, metadata={"help": "a worker of another machine that is silent for so long has lost its shard"}
    )
    compress: Literal["none", "gz", "xz", "zst"] = field(
        default="none", metadata={"help": "how the line-aligned results are written"}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "label a sample and say what all of it would cost; nothing is written"}
    )
    new_run: bool = field(default=False, metadata={"help": "start over; what is there is moved aside"})
    compute_type: ComputeType = field(default="auto", metadata={"help": COMPUTE_TYPE_HELP})
    on_invalid_utf8: OnInvalidUtf8 = field(
        default="error", metadata={"help": "what to do with bytes that are no UTF-8"}
    )
    search: SearchFlags = field(default_factory=SearchFlags)
    verdicts: VerdictOptions = field(default_factory=VerdictOptions)
    asked: ModelOptions = field(default_factory=ModelOptions)
    metering: EnergyOptions = field(default_factory=EnergyOptions)

    def __post_init__(self) -> None:
        fill_in_lines(self, self.asked.device)
        for name in ("workers", "shard_lines", "batch_lines"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.soft_labels <= 1024:
            raise ConfigError(f"--soft-labels must be from 0 to 1024, got {self.soft_labels}")
        if not 0 <= self.soft_floor < 1:
            raise ConfigError(f"--soft-floor must be at least 0 and below 1, got {self.soft_floor:g}")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise ConfigError(f"--threads must be from 1 to 1024, got {self.threads}")
        if not 0 < self.lease_seconds < float("inf"):
            raise ConfigError(f"--lease-seconds must be above 0, got {self.lease_seconds:g}")
        if self.target is not None and not self.soft_labels:
            raise ConfigError("--target serves the soft labels of the gold translations: give --soft-labels K too")
        if self.soft_labels and self.asked.also:
            raise ConfigError("--soft-labels are stored with one teacher's hash: leave out them or --also")
        if self.too_long == "split" and self.search.n_best > 1:
            raise ConfigError("--too-long split joins best translations and goes with --n-best 1")
        self.share()

    def share(self) -> tuple[int, int]:
        """--shard as (index from 0, number); (0, 1) for all."""
        if self.shard is None:
            return 0, 1
        parts = re.fullmatch(r"(\d{1,9})/(\d{1,9})", self.shard)
        index, count = (int(part) for part in parts.groups()) if parts else (0, 0)
        if not 1 <= index <= count:
            raise ConfigError(f"--shard must be I/N with I from 1 to N, as in 2/8, got {self.shard!r}")
        return index - 1, count


@dataclass(frozen=True)
class Labels:
    """A finished job: one line out for every line in.

    Attributes:
        folder: of the job.
        lines: of the source. counts: lines by verdict (labels/verdicts.py).
        source_hash, pseudo_hash, statuses_hash: SHA-256 of the texts.
        target_tokens: of the best hypotheses, end symbols included.
        seconds: of decoding, over all workers.
        files: name of each result by kind (pseudo, nbest, statuses).
        gold_faults: gold lines without soft labels by why (not_finite, no_memory).
    """

    folder: Path
    lines: int
    counts: dict[str, int]
    source_hash: str
    pseudo_hash: str
    target_tokens: int
    seconds: float | None
    files: dict[str, str]
    statuses_hash: str | None = None
    gold_faults: dict[str, int] = field(default_factory=dict)

    @cached_property
    def pseudo(self) -> list[str]:
        """One translation a line, "" where there is none; read into memory and proven by count and hash.

        Raises: DataError: the text is not the one that was written.
        """
        return self._column("pseudo", self.pseudo_hash)

    @cached_property
    def statuses(self) -> list[str]:
        """One verdict a line; as `pseudo`."""
        return self._column("statuses", self.statuses_hash)

    @property
    def tokens_per_second(self) -> float | None:
        """Target tokens per second of decoding; None where no time is known."""
        return self.target_tokens / self.seconds if self.seconds else None

    @property
    def summary(self) -> str:
        """Lines by verdict, as in `3 lines (2 ok, 1 copy)`, and gold lines whose soft labels could not be made."""
        counts, faults = (
            ", ".join(f"{count:,} {why}" for why, count in each.items()) for each in (self.counts, self.gold_faults)
        )
        return f"{self.lines:,} lines ({counts})" + (f"; gold lines without soft labels: {faults}" if faults else "")

    def __str__(self) -> str:
        speed = f" ({self.tokens_per_second:,.0f} tokens/s of decoding)" if self.tokens_per_second else ""
        return (
            f"{self.folder / self.files['pseudo']}: {self.summary}; {self.target_tokens:,} target tokens"
            f"{speed}; sha256 {self.pseudo_hash[:16]}"
        )

    def _column(self, kind: str, sha256: str | None) -> list[str]:
        from distilmt.text.files import file_facts
        from distilmt.text.lines import read_lines

        path = self.folder / self.files[kind]
        facts = file_facts(path)
        found = [line.text for line in read_lines(path, facts=facts)]
        if len(found) != self.lines or (sha256 or facts.sha256) != facts.sha256:
            raise DataError(
                f"{path}: {len(found)} lines that do not hash to what labels.json promises for {self.lines} lines - "
                "delete labels.json and run the same `distilmt label` again: the results are written anew"
            )
        return found


def label(config: LabelConfig | None = None, **options: Any) -> Labels | Forecast | None:
    """Translates a text file line by line, every line exactly once, on any number of workers.

    Killed at any instant and started again, with other workers or on another machine, it goes on and gives the same bytes.
    Other text, model or options are refused with a diff.

    Args:
        config: a LabelConfig, or its fields as keywords.
    Returns: what was written to `out`; None where shards of others (--shard) are still to be done; with `dry_run` a
        forecast of what it would take.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(LabelConfig, config, **options)
    if config.dry_run:
        from distilmt.bill.forecast import forecast_job

        return forecast_job(config)
    from distilmt.labels.job import run

    return run(config)


def label_stage(run: Run, name: str, inputs: Mapping[str, Any], **options: Any) -> Labels:
    """A labelling as a stage of a run: a job of its own inside it, so that a killed one goes on.

    Args:
        inputs: what its result depends on; options: of `label`, without `out`.
    """
    with run.stage(name, inputs, "labelling") as stage:
        if not stage.done:
            labels = label(out=str(stage.folder), metering=run.metering, **options)
            assert isinstance(labels, Labels)  # neither --shard nor --dry-run
            stage.finish(
                outputs={kind: stage.folder / file for kind, file in labels.files.items()}
                | {"labels": stage.folder / "labels.json"},
                facts={
                    "target_tokens": labels.target_tokens, "tokens_per_second": labels.tokens_per_second,
                    "counts": labels.counts, "work": {"lines": labels.lines, "target_tokens": labels.target_tokens},
                },
            )  # fmt: skip
        return read_labels(stage.folder)


def read_labels(folder: str | Path) -> Labels:
    """Opens a finished job.

    Raises: DataError: it is unfinished, or its results are not what labels.json promises.
    """
    from distilmt.labels.merge import open_labels

    return open_labels(Path(folder))
