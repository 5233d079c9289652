"""From parts to one figure: what is known is added, the idle baseline and others' share are taken off, the rest is named.

    joules = s x (J - idle watts x seconds),   J = sum over parts,   s = sum over parts of (share x J_part) / J

with the same s on both ends of the interval: a share is a rule of accounting and no measurement, so the interval says nothing
about it, and a figure with a share in it is an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distilmt.energy.options import EnergyOptions
from distilmt.energy.parts import Joules, Part
from distilmt.energy.usage import NOT_MEASURED


def figure(
    parts: Sequence[Part], options: EnergyOptions, seconds: float, cpu_seconds: float, busy: float | None
) -> dict[str, Any]:
    """The energy fields of a `Usage`.

    Args:
        seconds: wall time of the figure.
        cpu_seconds: this process's processor time in it.
        busy: the machine's processor time in it, for shares of it; None is unknown.
    """
    known: list[tuple[Part, Joules]] = []
    missing = []
    for part in parts:
        joules = None if part.problem else part.joules()
        if joules is not None and joules.value > 0:
            known.append((part, joules))
        else:
            missing.append(f"{part.name}: {part.problem or 'the counter did not move (too short a time for it?)'}")
    found: dict[str, Any] = {"joules": None, "energy_method": NOT_MEASURED, "energy_missing": missing}
    if not known:
        return found
    shares = {card: _share(options, card, cpu_seconds, busy) for card in {part.card for part, _ in known}}
    if None in shares.values():
        return found | {
            "energy_missing": [*missing, "attribution: this process's share is unknown: /proc/stat tells no time"]
        }
    gross = sum(joules.value for _, joules in known)
    share = sum((shares[part.card] or 0.0) * joules.value for part, joules in known) / gross
    idle = (options.idle_watts or 0.0) * seconds
    if idle and missing:
        return found | {"energy_missing": [*missing, "idle baseline: a part that it covers was not counted"]}
    if idle >= gross:
        reason = f"idle baseline: {options.idle_watts:g} W are not below the {gross / seconds:.1f} W that were counted"
        return found | {"energy_missing": [*missing, reason]}
    low, high = _sum([joules.low for _, joules in known]), _sum([joules.high for _, joules in known])
    return found | {
        "joules": share * (gross - idle),
        "joules_low": None if low is None else share * max(0.0, low - idle),
        "joules_high": None if high is None else share * (high - idle),
        "idle_joules": share * idle if options.idle_watts is not None else None,
        "energy_method": " + ".join(dict.fromkeys(part.method for part, _ in known)),
        "energy_kind": "measured" if all(part.measured for part, _ in known) and not _shared(options) else "estimated",
        "energy_coverage": [part.name + _share_text(options, part.card, shares[part.card]) for part, _ in known],
        "energy_samples": sum(part.samples for part, _ in known),
    }


def _shared(options: EnergyOptions) -> bool:
    return options.attribution != "machine" or options.gpu_share != 1.0


def _share(options: EnergyOptions, card: bool, cpu_seconds: float, busy: float | None) -> float | None:
    if card:
        return options.gpu_share
    if options.attribution == "cpu-share":
        return min(1.0, cpu_seconds / busy) if busy else None
    return 1.0 if options.attribution == "machine" else float(options.attribution)


def _share_text(options: EnergyOptions, card: bool, share: float | None) -> str:
    if card:
        return "" if options.gpu_share == 1.0 else f" x {share:.3g} (share declared)"
    if options.attribution == "machine":
        return ""
    return f" x {share:.3g} ({'share of CPU time' if options.attribution == 'cpu-share' else 'share declared'})"


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
