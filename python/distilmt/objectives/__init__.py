"""Training objectives, readable as the formula in the paper.

    objective = 0.5 * NLL(label_smoothing=0.1) + 0.5 * WordKD(temperature=1.0)
    out = objective.evaluate(student=Head(hidden, weight), targets=ids, teacher=Head(t_hidden, t_weight))
    out.loss.backward()

One file per published loss; `objective.py` adds them up and evaluates the sum in one native call.
"""

from __future__ import annotations

from distilmt.objectives.adaptive_kd import AdaptiveKD
from distilmt.objectives.attention_alignment import AttentionAlignment
from distilmt.objectives.attention_maps import AttentionMaps
from distilmt.objectives.cosine import Cosine
from distilmt.objectives.evaluation import Evaluation
from distilmt.objectives.expression import parse
from distilmt.objectives.hidden_mse import HiddenMSE
from distilmt.objectives.inheritance import Inheritance
from distilmt.objectives.jensen_shannon import JensenShannon
from distilmt.objectives.knn_kd import KNNKD
from distilmt.objectives.layer_combination import LayerCombination
from distilmt.objectives.layers import Layers, Shape
from distilmt.objectives.logit_mse import LogitMSE
from distilmt.objectives.nll import NLL
from distilmt.objectives.objective import Objective
from distilmt.objectives.ranking import Ranking
from distilmt.objectives.reverse_kd import ReverseKD
from distilmt.objectives.selective_kd import SelectiveKD
from distilmt.objectives.skew_kd import SkewKD, SkewReverseKD
from distilmt.objectives.teachers import Ensemble, Head, Neighbours, TopK
from distilmt.objectives.term import LayerTerm, Term
from distilmt.objectives.top1 import Top1, WithoutTop1
from distilmt.objectives.total_variation import TotalVariation
from distilmt.objectives.word_kd import WordCE, WordKD

__all__ = [
    "KNNKD", "NLL", "AdaptiveKD", "AttentionAlignment", "AttentionMaps", "Cosine", "Ensemble", "Evaluation", "Head", "HiddenMSE",
    "Inheritance", "JensenShannon", "LayerCombination", "LayerTerm", "Layers", "LogitMSE", "Neighbours", "Objective", "Ranking",
    "ReverseKD", "SelectiveKD", "Shape", "SkewKD", "SkewReverseKD", "Term", "Top1", "TopK", "TotalVariation", "WithoutTop1",
    "WordCE", "WordKD", "parse",
]  # fmt: skip
