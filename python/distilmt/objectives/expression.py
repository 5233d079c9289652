"""Objectives from text, as in `--objective "0.5 * NLL(label_smoothing=0.1) + 0.5 * WordKD()"`.

Read with `ast`, never evaluated: numbers, terms, `+`, `*`, `/` and parentheses are all there is.
"""

from __future__ import annotations

import ast
import difflib
from dataclasses import fields
from typing import Any

from distilmt.errors import ConfigError
from distilmt.objectives.adaptive_kd import AdaptiveKD
from distilmt.objectives.attention_alignment import AttentionAlignment
from distilmt.objectives.attention_maps import AttentionMaps
from distilmt.objectives.cosine import Cosine
from distilmt.objectives.hidden_mse import HiddenMSE
from distilmt.objectives.inheritance import Inheritance
from distilmt.objectives.jensen_shannon import JensenShannon
from distilmt.objectives.knn_kd import KNNKD
from distilmt.objectives.layer_combination import LayerCombination
from distilmt.objectives.logit_mse import LogitMSE
from distilmt.objectives.nll import NLL
from distilmt.objectives.objective import Objective
from distilmt.objectives.ranking import Ranking
from distilmt.objectives.reverse_kd import ReverseKD
from distilmt.objectives.selective_kd import SelectiveKD
from distilmt.objectives.skew_kd import SkewKD, SkewReverseKD
from distilmt.objectives.term import Term
from distilmt.objectives.top1 import Top1, WithoutTop1
from distilmt.objectives.total_variation import TotalVariation
from distilmt.objectives.word_kd import WordCE, WordKD

_TERMS: dict[str, type[Term]] = {
    term.__name__: term
    for term in (
        NLL, WordKD, WordCE, ReverseKD, JensenShannon, SkewKD, SkewReverseKD, TotalVariation, AdaptiveKD, LogitMSE, Ranking, Top1,
        WithoutTop1, SelectiveKD, KNNKD, Inheritance, Cosine, HiddenMSE, LayerCombination, AttentionMaps, AttentionAlignment,
    )
}  # fmt: skip


def parse(expression: str) -> Objective:
    """The objective that an expression describes; `parse(repr(objective)) == objective`.

    Raises: ConfigError: not such an expression, an unknown term or parameter (with the nearest known name), or a value
        that the term refuses.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        value = _value(tree)
    except (SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise ConfigError(
            f"objective {expression!r}: not an expression - write as in 0.5*NLL() + 0.5*WordKD()"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"objective {expression!r}: {error}") from None
    if isinstance(value, float):
        raise ConfigError(f"objective {expression!r}: a number alone - name a term: {', '.join(_TERMS)}")
    return value


def _value(node: ast.expr) -> Objective | float:
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, Objective) and isinstance(right, Objective):
            return left + right
        if isinstance(node.op, ast.Mult) and not (isinstance(left, Objective) and isinstance(right, Objective)):
            return left * right  # type: ignore[operator]  # one of them is a number
        if isinstance(node.op, ast.Div) and isinstance(right, float) and right != 0:
            return left * (1 / right)
        raise ConfigError(f"cannot compute {ast.unparse(node)!r} - add terms, multiply or divide them by numbers")
    if isinstance(node, ast.Call):
        return 1.0 * _term(node)
    if isinstance(node, ast.Name) and node.id in _TERMS:
        raise ConfigError(f"{node.id} lacks its parentheses - write {node.id}()")
    number = _constant(node)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise ConfigError(f"{ast.unparse(node)!r} is neither a number nor a term - known terms: {', '.join(_TERMS)}")
    return float(number)


def _term(node: ast.Call) -> Term:
    name = ast.unparse(node.func)
    if name not in _TERMS:
        raise ConfigError(f"unknown term {name!r}{_nearest(name, list(_TERMS))}")
    parameters = [field.name for field in fields(_TERMS[name]) if field.init]  # type: ignore[arg-type]  # every term is a dataclass
    for keyword in node.keywords:
        if keyword.arg not in parameters:
            raise ConfigError(f"{name} has no parameter {keyword.arg!r}{_nearest(str(keyword.arg), parameters)}")
    try:
        return _TERMS[name](*map(_constant, node.args), **{str(k.arg): _constant(k.value) for k in node.keywords})
    except TypeError as error:  # too many values, the same one twice, or a text where a number belongs
        raise ConfigError(f"{ast.unparse(node)}: {error} - parameters: {', '.join(parameters)}") from None


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ConfigError(f"{ast.unparse(node)!r} is not a plain value - write a number") from None


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, cutoff=0.4)
    if not near:  # difflib counts capitals as different letters
        near = [k for k in known if k.lower() == name.lower()]
    return f" - did you mean {near[0]}?" if near else f" - known: {', '.join(known)}"
