"""`distilmt forecast`: what labelling a text would cost, from a sample of it, for each choice of beam, numbers and workers.

    distilmt forecast --model TEACHER --source mono.de.zst --beams 1 4 5 --compute-types int8 float32 --max-hours 24

The sample (sample.py) is decoded as the job would, timed and metered (pace.py); hours, energy, CO2e, money (rates.py) and
disk of the whole text follow, and the best choice under the user's limits. docs/payback.md has the formulas.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

from distilmt.bill import limits
from distilmt.bill.rates import Amount, Rates, cost
from distilmt.bill.tables import KG, KWH, amount, digits
from distilmt.energy import NOT_MEASURED, EnergyOptions
from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.label import LabelConfig, fill_in_lines, lines_field
from distilmt.report.cells import DASH, Table, duration, size
from distilmt.text.lines import OnInvalidUtf8
from distilmt.translator.compute_type import ComputeType
from distilmt.translator.model_options import ModelOptions, SearchFlags

if TYPE_CHECKING:
    from distilmt.bill.pace import Pace
    from distilmt.bill.sample import Sample


@dataclass(frozen=True, kw_only=True)
class ForecastConfig:
    """Options of `distilmt forecast`."""

    model: str = field(metadata={"help": "the teacher: a model's folder or hub name"})
    source: str = field(metadata={"help": "text to label, one sentence a line", "metavar": "FILE"})
    reference: str | None = field(
        default=None, metadata={"help": "its translation, for BLEU on the sample", "metavar": "FILE"}
    )
    beams: tuple[int, ...] = field(default=(5,), metadata={"help": "beam sizes to compare"})
    compute_types: tuple[ComputeType, ...] = field(default=("auto",), metadata={"help": "numbers to compare"})
    workers: tuple[int, ...] = field(
        default=(), metadata={"help": "numbers of decoding threads, as `label --threads` [default: all CPUs]"}
    )
    n_best: int = field(default=1, metadata={"help": "candidates to keep per line"})
    soft_labels: int = field(default=0, metadata={"help": "soft labels to keep per token"})
    forced: bool = field(
        default=False, metadata={"help": "soft labels of --reference too, as `label --target` keeps them"}
    )
    length_penalty: float = field(default=1.0, metadata={"help": "scores are divided by length to this power"})
    max_length: int = field(default=256, metadata={"help": "longest translation in tokens, end symbol included"})
    too_long: Literal["skip", "truncate", "split"] = field(
        default="skip", metadata={"help": "what to do with a line of more tokens than the model has positions"}
    )
    sample: int = field(default=300, metadata={"help": "lines to decode for each choice"})
    repeats: int = field(default=3, metadata={"help": "timed decodings of the sample: their spread is the interval"})
    batch_lines: int = lines_field("lines that a process of the job decodes at a time")
    processes: int = field(
        default=1,
        metadata={"help": "processes that share the threads, as `label --workers`: as many batches at a time"},
    )
    shard_lines: int = lines_field("lines of a shard of the job")
    seed: int = field(default=1, metadata={"help": "of the draw of the sample"})
    max_hours: float | None = field(default=None, metadata={"help": "no choice that takes more hours"})
    max_kg: float | None = field(default=None, metadata={"help": "no choice with more kg of CO2e"})
    max_money: float | None = field(default=None, metadata={"help": "no choice that costs more"})
    max_bleu_loss: float | None = field(
        default=None, metadata={"help": "no choice that loses more BLEU against the best of them"}
    )
    prefer: Literal["hours", "kg", "money", "bleu"] | None = field(
        default=None,
        metadata={
            "help": "of those within the limits; default: bleu with --reference and no --max-bleu-loss, else hours"
        },
    )
    on_invalid_utf8: OnInvalidUtf8 = field(
        default="error", metadata={"help": "what to do with bytes that are no UTF-8"}
    )
    asked: ModelOptions = field(default_factory=ModelOptions)
    rates: Rates = field(default_factory=Rates)
    metering: EnergyOptions = field(default_factory=EnergyOptions)

    def __post_init__(self) -> None:
        fill_in_lines(self, self.asked.device)
        for name in ("beams", "compute_types"):
            if not getattr(self, name):
                raise ConfigError(f"--{name.replace('_', '-')} must name at least one")
        workers = ["workers"] if self.workers else []
        for name in ("sample", "repeats", "batch_lines", "processes", "shard_lines", *workers):
            given = getattr(self, name)
            if min(given if isinstance(given, tuple) else [given]) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be 1 or more, got {given}")
        if self.forced and not (self.reference and self.soft_labels):
            raise ConfigError("--forced is about the soft labels of a --reference: give that and --soft-labels K")
        if self.n_best > min(self.beams):
            raise ConfigError(f"--n-best {self.n_best}: a search of beam {min(self.beams)} does not find so many")
        limits.check(self)


@dataclass(frozen=True)
class ForecastRow:
    """One choice. `low` and `high` of an Amount are None where one repeat gave no spread.

    Attributes:
        beam_size, compute_type, workers: the choice.
        hours: loading included. kwh, co2e_kg, money: None is unknown.
        disk_bytes: of the records and of the text.
        load_seconds: until the first line can be decoded. tokens_per_second: of the whole text, loading left out.
        bleu: of the sample; bleu_loss: points against the best of all choices, its interval by paired bootstrap over the
            sample's lines; None without a reference.
        over: the limits that it breaks, in words; nothing where it keeps them all.
    """

    beam_size: int
    compute_type: str
    workers: int
    hours: Amount
    kwh: Amount | None
    co2e_kg: Amount | None
    money: Amount | None
    disk_bytes: float
    load_seconds: float
    tokens_per_second: float
    bleu: float | None = None
    bleu_loss: Amount | None = None
    over: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The choice in words."""
        return f"beam {self.beam_size}, {self.compute_type}, {self.workers} worker{'s' if self.workers > 1 else ''}"


@dataclass(frozen=True)
class Forecast:
    """What `distilmt.forecast` found.

    Attributes:
        rows: one for each choice. best: that within the limits, or None. notes: as sentences. currency: "" where none was named.
    """

    rows: list[ForecastRow]
    best: ForecastRow | None
    notes: list[str]
    currency: str = ""

    def __str__(self) -> str:
        return self.table().markdown() + "\n"

    def table(self) -> Table:
        """As text, a line for each choice."""
        head = ["Beam", "Numbers", "Workers", "Time", "95 % interval", "Energy", "CO2e", "Money", "Disk", "Tokens/s"]
        quality = any(row.bleu is not None for row in self.rows)
        head += (["BLEU of the sample", "Loss"] if quality else []) + ["Best"]
        rows = []
        for row in self.rows:
            cells = [str(row.beam_size), row.compute_type, str(row.workers), duration(row.hours.value * 3600)]
            ends = [None if end is None else duration(end * 3600) for end in (row.hours.low, row.hours.high)]
            cells += [DASH if None in ends else f"{ends[0]} to {ends[1]}"]
            cells += [NOT_MEASURED if row.kwh is None else amount(Amount(row.kwh.value), KWH)]
            cells += [DASH if row.co2e_kg is None else amount(Amount(row.co2e_kg.value), KG)]
            cells += [DASH if row.money is None else f"{digits(row.money.value)} {self.currency}".rstrip()]
            cells += [size(row.disk_bytes)]
            cells += [f"{row.tokens_per_second:,.0f}"]
            if quality:
                cells += [DASH if row.bleu is None else f"{row.bleu:.1f}", _loss(row.bleu_loss)]
            rows.append([*cells, "best" if row is self.best else "over" if row.over else ""])
        return Table("Forecast", head, rows, self.notes)

    def frame(self) -> Any:
        """The rows as a pandas DataFrame (extra `study`): hours, hours_low, hours_high ... Raises: ConfigError."""
        from distilmt.statistics.extra import library

        flat = []
        for row in self.rows:
            plain: dict[str, Any] = {}
            for each in fields(row):
                value = getattr(row, each.name)
                plain[each.name] = value.value if isinstance(value, Amount) else value
                if each.name in ("hours", "kwh", "co2e_kg", "money", "bleu_loss"):
                    ends = (value.low, value.high) if value is not None else (None, None)
                    plain |= {f"{each.name}_low": ends[0], f"{each.name}_high": ends[1]}
            flat.append(plain | {"best": row is self.best})
        return library("pandas").DataFrame(flat)


def forecast(config: ForecastConfig | None = None, **options: Any) -> Forecast:
    """Says what labelling a text would take, for each choice, from a sample of its lines.

    Args:
        config: a ForecastConfig, or its fields as keywords.
    Raises:
        ConfigError: options that contradict each other, or a limit on what is not measured.
        DataError: text or model that cannot be used. ResourceError: memory.
    """
    config = resolve(ForecastConfig, config, **options)
    search = SearchFlags(n_best=config.n_best, length_penalty=config.length_penalty, max_length=config.max_length)
    job = LabelConfig(
        model=config.model, source=config.source, out="", soft_labels=config.soft_labels, too_long=config.too_long,
        asked=config.asked, search=search,
    )  # fmt: skip
    return _foretold(config, job)


def forecast_job(job: LabelConfig, rates: Rates | None = None) -> Forecast:
    """What one job would take, with its options as they are: `distilmt label --dry-run`. Raises: as `forecast`."""
    from distilmt.energy.machine import usable_cpus

    threads = job.threads or usable_cpus()
    config = ForecastConfig(
        model=job.model, source=job.source, reference=job.target, forced=job.target is not None,
        beams=(job.search.options()["beam_size"],), n_best=job.search.n_best, soft_labels=job.soft_labels, workers=(threads,),
        compute_types=(job.compute_type,), batch_lines=job.batch_lines, processes=job.workers,
        shard_lines=job.shard_lines, on_invalid_utf8=job.on_invalid_utf8, metering=job.metering, rates=rates or Rates(),
    )  # fmt: skip
    return _foretold(config, job, flags=rates is not None)


def _foretold(config: ForecastConfig, job: LabelConfig, flags: bool = True) -> Forecast:
    """`flags`: the command that asks takes rates."""
    from distilmt.bill.pace import measure
    from distilmt.bill.sample import draw
    from distilmt.energy.machine import usable_cpus
    from distilmt.evaluate import bleu_of, score
    from distilmt.labels.teacher import Teacher
    from distilmt.text.files import language_of

    lines = draw(
        config.source, config.sample, shard=config.shard_lines, seed=config.seed, reference=config.reference,
        on_invalid_utf8=config.on_invalid_utf8,
    )  # fmt: skip
    targets = lines.references if config.forced else None
    language = language_of(config.reference) if config.reference else ""
    bleu_of(language)  # says now what is not installed
    lines = replace(lines, decoded=-(-lines.decoded // job.share()[1]))  # of --shard I/N, one in N
    rows, paces = [], []
    for compute_type, workers, beam in product(config.compute_types, config.workers or (usable_cpus(),), config.beams):
        start = time.perf_counter()
        choice = replace(job, compute_type=compute_type, search=replace(job.search, beam_size=beam))
        teacher = Teacher(choice, workers)
        _ = teacher.translator.vocab
        load = time.perf_counter() - start
        pace = measure(teacher, lines.chosen, targets, config.repeats, config.metering)
        texts = [record.text for record in pace.records]
        bleu = score(texts, lines.references, target_lang=language).bleu if lines.references else None
        rows.append(_row(config, lines, pace, load, teacher.translator.compute_type, bleu))
        paces.append(pace)
        limits.check_known(config, rows[-1], pace.usage)
    if lines.references:
        rows = _with_losses(
            rows, [[record.text for record in pace.records] for pace in paces], lines.references, language
        )
    rows = limits.judged(config, rows)
    best = limits.best(config, rows)
    return Forecast(rows, best, _notes(config, lines, paces, rows, best, flags), config.rates.currency or "")


def _row(
    config: ForecastConfig, lines: Sample, pace: Pace, load: float, compute_type: str, bleu: float | None
) -> ForecastRow:
    decoding = pace.of(lines.decoded, config.batch_lines * config.processes)
    hours = _map(decoding, lambda seconds: (seconds + load) / 3600)
    usage, spent = pace.usage, sum(pace.seconds)
    # The whole draws as many watts as the sample; an interval of energy is that of the watts over that of the hours.
    watts = [
        None if joules is None else joules / spent for joules in (usage.joules_low, usage.joules, usage.joules_high)
    ]

    def joules(hours: float | None, watts: float | None) -> float | None:
        return None if hours is None or watts is None else hours * 3600 * watts

    low, mid, high = (
        None if hour is None else cost(config.rates, hour, joules(hour, watt))
        for hour, watt in zip((hours.low, hours.value, hours.high), watts, strict=True)
    )
    assert mid is not None

    def known(name: str) -> Amount | None:
        value, *ends = (getattr(each, name) if each else None for each in (mid, low, high))
        return None if value is None else Amount(value.value, *(end.value if end else None for end in ends))

    share = lines.decoded / len(lines.chosen)
    return ForecastRow(
        beam_size=pace.beams, compute_type=compute_type, workers=pace.workers, hours=hours, kwh=known("kwh"),
        co2e_kg=known("co2e_kg"), money=known("money"), disk_bytes=_disk_bytes(pace) * share, load_seconds=load,
        tokens_per_second=sum(pace.draws) * share / decoding.value, bleu=bleu,
    )  # fmt: skip


def _with_losses(
    rows: Sequence[ForecastRow], texts: Sequence[list[str]], references: Sequence[str], language: str
) -> list[ForecastRow]:
    from distilmt.statistics.quality import paired

    best = max(range(len(rows)), key=lambda i: rows[i].bleu or 0.0)
    losses = [paired({1: texts[best]}, {1: each}, references, trials=1, target_lang=language) for each in texts]
    return [
        replace(row, bleu_loss=Amount(loss.difference, loss.low, loss.high))
        for row, loss in zip(rows, losses, strict=True)
    ]


def _map(amount: Amount, change: Callable[[float], float]) -> Amount:
    low, high = (None if end is None else change(end) for end in (amount.low, amount.high))
    return Amount(change(amount.value), low, high)


def _disk_bytes(pace: Pace) -> int:
    """Of the sample's records, and of its text, one line each."""
    from distilmt.labels.records import to_frame

    return sum(len(to_frame(record)) + len(record.text.encode()) + 1 for record in pace.records)


def _loss(loss: Amount | None) -> str:
    if loss is None or loss.low is None or loss.high is None:
        return DASH
    return f"{loss.value:.1f} ({loss.low:.1f} to {loss.high:.1f})" if loss.high > loss.low else f"{loss.value:.1f}"


def _notes(
    config: ForecastConfig, lines: Sample, paces: Sequence[Pace], rows: Sequence[ForecastRow], best: ForecastRow | None,
    flags: bool,
) -> list[str]:  # fmt: skip
    notes = lines.notes
    drain = max(pace.drain for pace in paces)
    notes.append(
        f"The end of the sample, where slots drain, took up to {drain:.0%} of its time; the forecast leaves it out."
    )
    if config.repeats == 1:
        notes.append("No interval: one repeat has no spread - use --repeats 3 or more.")
    usage = paces[0].usage
    if usage.joules is None:
        notes.append(f"Energy not measured: {'; '.join(usage.energy_missing)}.")
    else:
        notes.append(f"Energy {usage.energy_kind} by {usage.energy_method} over {', '.join(usage.energy_coverage)}.")
    hours = max(row.hours.value for row in rows)
    given = [f"{name}: {text}" for name, text in config.rates.inputs().items()]
    notes += [f"Inputs: {'; '.join(given)}."] * bool(given)
    missing = [f"{text}." for text in cost(config.rates, hours, 1.0).missing]
    if missing and not flags:
        missing = ["CO2e and money are said by `distilmt forecast`, with --country, --price-per-kwh, --price-per-hour."]
    notes += missing
    notes.append(limits.verdict(config, rows, best))
    return notes
