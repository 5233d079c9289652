"""Training objectives, readable as the formula in the paper.

    objective = 0.5 * NLL(label_smoothing=0.1) + 0.5 * WordKD(temperature=1.0)
    out = objective.evaluate(student=Head(hidden, weight), targets=ids, teacher=Head(t_hidden, t_weight))
    out.loss.backward()

One file per published loss; `objective.py` adds them up and evaluates the sum in one native call.
"""

from __future__ import annotations

from distilmt.objectives.expression import parse
from distilmt.objectives.nll import NLL
from distilmt.objectives.objective import Evaluation, Head, Objective, Term
from distilmt.objectives.word_kd import WordKD

__all__ = ["NLL", "Evaluation", "Head", "Objective", "Term", "WordKD", "parse"]
