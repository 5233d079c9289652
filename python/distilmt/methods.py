"""Short names: a method is a recipe (what data) and an objective (what loss); `+` joins the two kinds."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from distilmt.errors import ConfigError

PLAIN = "NLL(label_smoothing=0.1)"


@dataclass(frozen=True)
class Method:
    """A named pair of recipe and objective."""

    name: str
    recipe: str
    objective: str
    summary: str


METHODS = {
    m.name: m
    for m in (
        Method(
            "word-kd",
            "gold",
            "0.5 * NLL(label_smoothing=0.1) + 0.5 * WordKD()",
            "gold pairs; the teacher's distribution at every token (Kim & Rush 2016, section 3.1)",
        ),
        Method(
            "seq-kd",
            "seq-kd",
            PLAIN,
            "the teacher's beam search output in place of the references (Kim & Rush 2016, section 3.2)",
        ),
        Method(
            "seq-inter",
            "seq-inter",
            PLAIN,
            "the hypothesis of the teacher's beam that is nearest the reference in its place (Kim & Rush 2016, section 3.3)",
        ),
    )
}
ALONE = Method("alone", "gold", PLAIN, "the student without a teacher: the baseline of every report")
RECIPES = ("gold", "seq-kd", "seq-inter")


def named(name: str) -> Method:
    """The method of a name such as `seq-kd+word-kd`.

    Raises: ConfigError: unknown name, or two parts that ask for different data or different losses.
    """
    parts = []
    for part in name.split("+"):
        if part not in METHODS:
            near = difflib.get_close_matches(part, METHODS, 1)
            hint = f" - did you mean {near[0]}?" if near else f" - known: {', '.join(METHODS)}"
            raise ConfigError(f"--method: unknown method {part!r}{hint}")
        parts.append(METHODS[part])
    recipes = {m.recipe for m in parts} - {"gold"} or {"gold"}
    objectives = {m.objective for m in parts} - {PLAIN} or {PLAIN}
    if len(recipes) > 1 or len(objectives) > 1 or len(parts) != len(set(parts)):
        raise ConfigError(
            f"--method: {name!r} joins methods of one kind - join one that makes data with one that is a loss"
        )
    return Method(name, recipes.pop(), objectives.pop(), "; ".join(m.summary for m in parts))
