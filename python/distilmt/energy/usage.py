"""What a piece of work used: plain numbers, each with what it covers; unknown is None and never 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, cast

NOT_MEASURED = "not measured"
NO_CARDS = "NVML: no cards"

T = TypeVar("T", int, float)
EnergyKind = Literal["measured", "estimated", "unknown"]


@dataclass(frozen=True)
class Usage:
    """What the metered work used.

    Attributes:
        seconds: wall time, without that in which the machine was suspended.
        cpu_seconds: processor time of this process, all threads, and of the children that ended meanwhile.
        peak_rss_bytes: most memory this process held at once (children not included).
        joules: energy of the components in `energy_coverage`, with idle baseline and share taken off where asked; None is unknown.
        energy_method: "RAPL", "NVML", "NVML power", "model", "constant", "codecarbon", several joined by " + ", or "not measured".
        energy_coverage: the components counted, as in ["RAPL package-0", "RAPL dram-0"], with the share that was taken of each.
        energy_missing: why others were not, one sentence each.
        peak_rss_method: "VmHWM" (of the metered time), or "ru_maxrss" (since the process began: an upper bound).
        energy_kind: "measured" where all of `joules` comes from counters or sensors of whole components; "estimated" as soon
            as a model, a declaration or a share is in it; "unknown".
        joules_low, joules_high: interval that holds the true figure (docs/energy.md says by which rule); None is unknown.
        energy_samples: readings that `joules` was made from.
        gpu_peak_bytes: most memory this process held on its NVIDIA cards at once; None is unknown, or no card.
        gpu_peak_method: "torch.cuda" (its allocator), "NVML" (of the process, sampled), or empty.
        idle_joules: what was subtracted as idle baseline, within `joules`' share; None where nothing was asked for.
        tokens: what `Meter.add_tokens` was told; None where it was told nothing.
        cpus: processors this process may use.
    """

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    joules: float | None
    energy_method: str
    energy_coverage: list[str] = field(default_factory=list)
    energy_missing: list[str] = field(default_factory=list)
    peak_rss_method: str = "VmHWM"
    energy_kind: EnergyKind = "unknown"
    joules_low: float | None = None
    joules_high: float | None = None
    energy_samples: int = 0
    gpu_peak_bytes: int | None = None
    gpu_peak_method: str = ""
    idle_joules: float | None = None
    tokens: int | None = None
    cpus: int | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Usage:
        """From plain data, whose other keys are left out."""
        return cls(**{each.name: record[each.name] for each in fields(cls) if each.name in record})

    @property
    def cpu_utilisation(self) -> float | None:
        """Share of the usable processors' time that was used, 0 to 1."""
        return self.cpu_seconds / (self.seconds * self.cpus) if self.cpus and self.seconds > 0 else None

    def __str__(self) -> str:
        energy = f"energy {NOT_MEASURED}"
        details = self.energy_missing
        if self.joules is not None:
            spread = f", {self.joules_low:.1f} to {self.joules_high:.1f} J" if self.joules_low is not None else ""
            energy, details = f"{self.joules:.1f} J {self.energy_kind}{spread}", self.energy_coverage
        card = f"{self.gpu_peak_bytes / 2**20:.0f} MiB on cards, " if self.gpu_peak_bytes is not None else ""
        return (
            f"{self.seconds:.1f} s, {self.cpu_seconds:.1f} CPU s, {self.peak_rss_bytes / 2**20:.0f} MiB peak, {card}"
            f"{energy}{' (' + '; '.join(details) + ')' if details else ''}"
        )


def total(usages: Iterable[Usage]) -> Usage:
    """Cost of several attempts together.

    Energy is known only if it was in each, and if none lost a component that another counted: a sum with a hole is no sum.
    Intervals add by their ends; the sum is "measured" only if each summand is.
    """
    usages = list(usages)
    coverage, missing = _merged(u.energy_coverage for u in usages), _merged(u.energy_missing for u in usages)
    joules = None if holes((u.energy_coverage, u.energy_missing) for u in usages) else _sum(u.joules for u in usages)
    known = joules is not None
    measured = all(u.energy_kind != "estimated" for u in usages)  # records of old have joules of counters, and no kind
    return Usage(
        seconds=sum(u.seconds for u in usages),
        cpu_seconds=sum(u.cpu_seconds for u in usages),
        peak_rss_bytes=max((u.peak_rss_bytes for u in usages), default=0),
        joules=joules,
        energy_method=" + ".join(_merged([u.energy_method] for u in usages)) if known else NOT_MEASURED,
        energy_coverage=coverage if known else [],
        energy_missing=missing,
        peak_rss_method="VmHWM" if all(u.peak_rss_method == "VmHWM" for u in usages) else "ru_maxrss",
        energy_kind=("measured" if measured else "estimated") if known else "unknown",
        joules_low=_sum(u.joules_low for u in usages) if known else None,
        joules_high=_sum(u.joules_high for u in usages) if known else None,
        energy_samples=sum(u.energy_samples for u in usages) if known else 0,
        gpu_peak_bytes=max((u.gpu_peak_bytes for u in usages if u.gpu_peak_bytes is not None), default=None),
        gpu_peak_method=" + ".join(_merged([u.gpu_peak_method] for u in usages if u.gpu_peak_method)),
        idle_joules=_sum(u.idle_joules for u in usages) if known else None,
        tokens=_sum(u.tokens for u in usages),
        cpus=usages[0].cpus if len({u.cpus for u in usages}) == 1 else None,
    )


def holes(parts: Iterable[tuple[Sequence[str], Sequence[str]]]) -> list[str]:
    """Why what these parts (coverage and reasons of what is missing) used cannot be added up: reasons of one part that concern
    a component which another part counted. That a machine has no card is no such reason."""
    named = [({_component(name) for name in coverage}, missing) for coverage, missing in parts]
    counted = {name for own, _ in named for name in own}
    found = []
    for own, missing in named:
        for reason in missing:
            name = _component(reason.split(": ")[0])
            lost = {each for each in counted - own if each.split()[0] == name.split()[0]}
            if (name in counted or lost) and reason != NO_CARDS:
                found.append(reason)
    return list(dict.fromkeys(found))


def _component(name: str) -> str:
    """A component without its share and its state, as in "NVML 0 H200 (whole card) x 0.5"."""
    return name.split(" x ")[0].split(" (")[0].strip() or name


def killed(usage: Usage, every: float) -> Usage:
    """A cost that was noted while the work ran and after which the process was killed.

    Args:
        every: seconds between two notes. As much may be missing, so the interval's upper end grows by that at the mean power.
    """
    note = f"the attempt was killed: up to {every:g} s at its end are not counted"
    high = usage.joules_high
    if high is not None and usage.seconds > 0:
        high += high / usage.seconds * every
    return replace(usage, joules_high=high, energy_missing=[*usage.energy_missing, note])


def _sum(values: Iterable[T | None]) -> T | None:
    """None where one is unknown, or where there is none."""
    found = list(values)
    known = [value for value in found if value is not None]
    return cast(T, sum(known)) if found and len(known) == len(found) else None


def _merged(lists: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(item for each in lists for item in each))
