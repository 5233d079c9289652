"""Reverse KL per token: the student may leave out what the teacher finds likely, but is not to invent.

    ReverseKD = KL(p^T || q^T)

Source: Gu et al. 2024 (MiniLLM, arXiv:2306.08543), whose loss is on sequences of the student; per token and on given
prefixes it is f-distill's RKL term, Wen et al. 2023 (arXiv:2307.15190). No T^2, as in f-distill's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from distilmt.objectives.divergence import Divergence


@dataclass(frozen=True, repr=False)
class ReverseKD(Divergence):
    """KL from the student's distribution to the teacher's.

    Args:
        temperature: T > 0, of both sides.
    """

    temperature: float = 1.0
    kind: ClassVar[str] = "reverse_kl"
