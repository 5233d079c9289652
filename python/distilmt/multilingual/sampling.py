"""How often each direction of a multilingual training has its turn: shares of the batches by temperature.

    p_i = (n_i / sum n)^(1 / T) / sum_j (n_j / sum n)^(1 / T)

T = 1 takes every pair equally often, T = 5 (the default there and here) lets small directions have more, a large T gives
all the same. Source: Arivazhagan et al. 2019 (arXiv:1907.05019), section 4.2. Deviation: they draw sentences and count
pairs, here whole batches of equally many tokens are drawn, so n counts the tokens of a direction.
"""

from __future__ import annotations

from collections.abc import Sequence

from distilmt.errors import ConfigError


def shares(sizes: Sequence[int], temperature: float) -> list[float]:
    """Chance of each direction, adding up to 1.

    Args:
        sizes: n of each direction, at least 1.
        temperature: T > 0.
    Raises: ConfigError: it is not.
    """
    if not temperature > 0:
        raise ConfigError(f"--sampling-temperature must be positive, got {temperature}")
    total = sum(sizes)
    powers = [(size / total) ** (1 / temperature) for size in sizes]
    return [power / sum(powers) for power in powers]
