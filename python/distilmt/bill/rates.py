"""Conversion: energy and machine hours into CO2e and money.

    kWh   = joules / 3.6e6
    CO2e  = kWh x PUE x intensity of the grid
    money = kWh x price of a kWh + hours x price of a machine hour

The intensity is given in grams per kWh, or taken for a country from grid.csv (source and years in its header). Every
formula is linear and rising in the joules, so the ends of their interval give the ends of the result's. What is unknown
stays None, and `missing` says what would make it known.
"""

from __future__ import annotations

import csv
import difflib
import math
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from distilmt.energy import NOT_MEASURED, Usage
from distilmt.errors import ConfigError

JOULES_PER_KWH = 3.6e6


class Grid(NamedTuple):
    """A line of the table: ISO 3166 alpha-3 code, English name, grams CO2e per kWh, year."""

    code: str
    country: str
    grams_per_kwh: float
    year: int


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a kilowatt-hour and a machine hour stand for; what is not given stays unknown.

    Raises: ConfigError: an unknown country, both country and intensity, a negative or infinite number, a PUE below 1.
    """

    country: str | None = field(
        default=None, metadata={"help": "whose electricity: code or name, as in DEU; table: docs/bill.md"}
    )
    grams_per_kwh: float | None = field(
        default=None, metadata={"help": "in place of --country: grams of CO2e per kWh of electricity"}
    )
    pue: float | None = field(
        default=None,
        metadata={"help": "energy of the building by energy of the machine; not given: 1, the machine alone"},
    )
    price_per_kwh: float | None = field(default=None, metadata={"help": "price of a kWh that the meter counts"})
    price_per_hour: float | None = field(default=None, metadata={"help": "price of a machine hour"})
    currency: str | None = field(default=None, metadata={"help": "of both prices, as in EUR"})

    def __post_init__(self) -> None:
        for name in ("grams_per_kwh", "pue", "price_per_kwh", "price_per_hour"):
            value, least = getattr(self, name), 1 if name == "pue" else 0
            if value is not None and not least <= value < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} must be a number of {least} or more, got {value}")
        if self.country is not None:
            if self.grams_per_kwh is not None:
                raise ConfigError("--country and --grams-per-kwh both say how clean the electricity is - give one")
            grid(self.country)

    @property
    def intensity(self) -> float | None:
        """Grams of CO2e per kWh."""
        return self.grams_per_kwh if self.country is None else grid(self.country).grams_per_kwh

    def inputs(self) -> dict[str, str]:
        """All that was put in, by name, in words: printed beside every result."""
        given: dict[str, str] = {}
        if self.intensity is not None:
            where = "given"
            if self.country is not None:
                line = grid(self.country)
                where = f"{line.country} {line.year}, generated, life cycle; Ember and Energy Institute by Our World in Data"
            given |= {
                "grid": f"{self.intensity:g} g CO2e per kWh ({where})",
                "PUE": "1 (none given)" if self.pue is None else f"{self.pue:g}",
            }
        unit = f" {self.currency}" if self.currency else ""
        if self.price_per_kwh is not None:
            given["electricity"] = f"{self.price_per_kwh:g}{unit} per kWh"
        if self.price_per_hour is not None:
            given["machine"] = f"{self.price_per_hour:g}{unit} per hour"
        return given


@dataclass(frozen=True)
class Amount:
    """A figure `value` and its interval; `low` and `high` are None where nothing is known of its error."""

    value: float
    low: float | None = None
    high: float | None = None

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.value + other.value, _sum(self.low, other.low), _sum(self.high, other.high))

    def __mul__(self, factor: float) -> Amount:
        """By a number of 0 or more."""
        ends = [None if end is None else end * factor for end in (self.low, self.high)]
        return Amount(self.value * factor, *ends)

    def __truediv__(self, divisor: float) -> Amount:
        """By a number above 0."""
        ends = [None if end is None else end / divisor for end in (self.low, self.high)]
        return Amount(self.value / divisor, *ends)


@dataclass(frozen=True)
class Cost:
    """What some work cost.

    Attributes:
        hours: of one machine.
        kwh, co2e_kg: None where the energy, or for CO2e the grid, is unknown.
        energy_money, machine_money: None where a price, or for the former the energy, is unknown.
        money: their sum, of those whose price was given; None where a priced one is unknown, or no price was given.
        inputs: the rates, in words by name.
        missing: what is unknown and why, one sentence each.
    """

    hours: float
    kwh: Amount | None
    co2e_kg: Amount | None
    energy_money: Amount | None
    machine_money: Amount | None
    money: Amount | None
    inputs: dict[str, str]
    missing: list[str]


def cost(
    rates: Rates, hours: float, joules: float | None = None, low: float | None = None, high: float | None = None
) -> Cost:
    """Converts hours and joules.

    Args:
        hours: of one machine; twice as many where two worked.
        joules: None is unknown. low, high: its interval, or None.
    """
    missing = []
    kwh = None if joules is None else Amount(joules, low, high) / JOULES_PER_KWH
    if kwh is None:
        missing.append(f"energy {NOT_MEASURED}: no kWh, no CO2e, no price of electricity")
    if rates.intensity is None:
        missing.append("CO2e needs --country or --grams-per-kwh")
    by_energy = None if kwh is None or rates.price_per_kwh is None else kwh * rates.price_per_kwh
    by_hours = None if rates.price_per_hour is None else Amount(*[hours * rates.price_per_hour] * 3)
    if rates.price_per_kwh is None and rates.price_per_hour is None:
        missing.append("money needs --price-per-kwh, --price-per-hour or both")
    if rates.price_per_kwh is None:
        money = by_hours
    elif rates.price_per_hour is None:
        money = by_energy
    else:
        money = by_energy + by_hours if by_energy and by_hours else None
    return Cost(
        hours=hours,
        kwh=kwh,
        co2e_kg=None if kwh is None or rates.intensity is None else kwh * ((rates.pue or 1.0) * rates.intensity / 1000),
        energy_money=by_energy,
        machine_money=by_hours,
        money=money,
        inputs=rates.inputs(),
        missing=missing,
    )


def cost_of(rates: Rates, usage: Usage) -> Cost:
    """Converts what a meter measured."""
    return cost(rates, usage.seconds / 3600, usage.joules, usage.joules_low, usage.joules_high)


def grid(country: str) -> Grid:
    """The table's line of a country.

    Args:
        country: ISO 3166 alpha-3 code or English name, in any case.
    Raises: ConfigError: not in the table; names the nearest.
    """
    table = _table()
    wanted = country.strip().casefold()
    for line in table:
        if wanted in (line.code.casefold(), line.country.casefold()):
            return line
    names = {text.casefold(): line for line in table for text in (line.country, line.code)}
    near = [line for line in table if wanted and line.code.casefold().startswith(wanted)]
    near += [names[text] for text in difflib.get_close_matches(wanted, names, 4, 0.6)]
    hint = " or ".join(dict.fromkeys(f"{line.country} ({line.code})" for line in near[:4]))
    raise ConfigError(
        f"--country {country}: not in the table of {len(table)} countries - "
        + (f"did you mean {hint}? " if hint else "it takes three-letter codes and English names. ")
        + "Else give --grams-per-kwh; without either, hours, energy and money can still be said"
    )


def overlaid(recorded: Rates, given: Rates) -> Rates:
    """Rates that were recorded with a run, with those that were given now in their place."""
    now = {name: value for name, value in asdict(given).items() if value is not None}
    if now.keys() & {"country", "grams_per_kwh"}:
        recorded = replace(recorded, country=None, grams_per_kwh=None)
    return replace(recorded, **now)


@cache
def _table() -> list[Grid]:
    text = (files("distilmt.bill") / "grid.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return [Grid(row["code"], row["country"], float(row["grams_per_kwh"]), int(row["year"])) for row in rows]


def _sum(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left + right
