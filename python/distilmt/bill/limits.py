"""The limits of a forecast: which choices keep them, which of those is best, and which comes nearest where none does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from distilmt.energy import Usage
from distilmt.errors import ConfigError

if TYPE_CHECKING:
    from distilmt.bill.forecast import ForecastConfig, ForecastRow

# Option, what it limits, unit.
_LIMITS: list[tuple[str, Callable[[ForecastRow], float | None], str]] = [
    ("max_hours", lambda row: row.hours.value, "h"),
    ("max_kg", lambda row: row.co2e_kg.value if row.co2e_kg else None, "kg CO2e"),
    ("max_money", lambda row: row.money.value if row.money else None, ""),
    ("max_bleu_loss", lambda row: row.bleu_loss.value if row.bleu_loss else None, "BLEU"),
]


def check(config: ForecastConfig) -> None:
    """Refuses limits and preferences that nothing given could answer. Raises: ConfigError."""
    rates, wanted = config.rates, config.prefer
    for name, _, _ in _LIMITS:
        limit = getattr(config, name)
        if limit is not None and limit < 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be 0 or more, got {limit:g}")
    if (config.max_bleu_loss is not None or wanted == "bleu") and config.reference is None:
        raise ConfigError("a choice by BLEU needs --reference FILE, the translation of --source line by line")
    if (config.max_kg is not None or wanted == "kg") and rates.intensity is None:
        raise ConfigError("a choice by kg of CO2e needs --country or --grams-per-kwh")
    if (config.max_money is not None or wanted == "money") and rates.price_per_kwh is rates.price_per_hour is None:
        raise ConfigError("a choice by money needs --price-per-kwh, --price-per-hour or both")


def check_known(config: ForecastConfig, row: ForecastRow, usage: Usage) -> None:
    """Refuses to choose by what was not measured. Raises: ConfigError: after the first choice, not after all."""
    for quantity, value in (("kg", row.co2e_kg), ("money", row.money)):
        if value is None and (getattr(config, f"max_{quantity}") is not None or config.prefer == quantity):
            why = "; ".join(usage.energy_missing)
            raise ConfigError(
                f"a choice by {quantity} needs energy, which was not measured ({why}) - declare it, as in "
                "--energy constant --constant-watts 40 90, or choose by --max-hours"
            )


def judged(config: ForecastConfig, rows: Sequence[ForecastRow]) -> list[ForecastRow]:
    """The rows with what they break."""
    found = []
    for row in rows:
        over = []
        for name, get, unit in _LIMITS:
            limit, value = getattr(config, name), get(row)
            if limit is not None and value is not None and value > limit:
                over.append(f"{value:.3g} {unit}".rstrip() + f" against --{name.replace('_', '-')} {limit:g}")
        found.append(replace(row, over=tuple(over)))
    return found


def best(config: ForecastConfig, rows: Sequence[ForecastRow]) -> ForecastRow | None:
    """The preferred one of those that keep every limit; the faster one of two that are equal."""
    kept = [row for row in rows if not row.over]
    keys: dict[str, Callable[[ForecastRow], float]] = {
        "hours": lambda row: row.hours.value,
        "kg": lambda row: row.co2e_kg.value if row.co2e_kg else 0.0,
        "money": lambda row: row.money.value if row.money else 0.0,
        "bleu": lambda row: -(row.bleu or 0.0),
    }
    return min(kept, key=lambda row: (keys[preference(config)](row), row.hours.value), default=None)


def preference(config: ForecastConfig) -> str:
    """What is best: what the user said; else quality where it is known and has no limit; else the least hours."""
    quality = config.reference is not None and config.max_bleu_loss is None
    return config.prefer or ("bleu" if quality else "hours")


def verdict(config: ForecastConfig, rows: Sequence[ForecastRow], chosen: ForecastRow | None) -> str:
    """A sentence: the best choice, or the nearest one and by how much it fails."""
    if chosen is not None:
        limited = any(getattr(config, name) is not None for name, _, _ in _LIMITS)
        return f"Best by {preference(config)}{' within the limits' if limited else ''}: {chosen.name}."

    def worst(row: ForecastRow) -> float:
        excess = [
            value / limit if limit else float("inf")
            for name, get, _ in _LIMITS
            if (limit := getattr(config, name)) is not None and (value := get(row)) is not None and value > limit
        ]
        return max(excess)

    nearest = min(rows, key=worst)
    return f"No choice keeps the limits. Nearest: {nearest.name}, with {', '.join(nearest.over)}."
