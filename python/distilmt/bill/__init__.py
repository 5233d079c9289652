"""What distillation costs as a process: energy and hours turned into CO2e and money, per stage and per thing gained.

    distilmt.bill(runs=("run",), country="DEU")       # the command's function, in place of this package (command.py)

    from distilmt.bill import Rates, cost
    cost(Rates(country="DEU", price_per_kwh=0.30), hours=2.0, joules=7.2e6).co2e_kg       # 0.762 kg: 2 kWh at 381 g

docs/bill.md has every formula with a worked example.
"""

from distilmt.bill.rates import Amount, Cost, Rates, cost, cost_of

__all__ = ["Amount", "Cost", "Rates", "cost", "cost_of"]
