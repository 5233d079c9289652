"""What can be asked of a search: every option with its meaning, its default and its check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from distilmt.errors import ConfigError

if TYPE_CHECKING:
    from distilmt.translator.native_model import Generation

MAX_BEAM_SIZE = 256
MAX_SAMPLES = 1024
REPETITION_PENALTY = (0.01, 100.0)
OF_SAMPLES = ("temperature", "top_k", "top_p", "seed")
EARLY_STOPPING = {True: "yes", False: "no", "never": "never", "exact": "exact"}


class SearchOptions(TypedDict, total=False):
    """Keywords of `Translator.translate` and `translate_ids`. Where nothing else is said they mean what they mean in
    Hugging Face `generate` (transformers 5.23).

    Beam search (beam_size 1 is greedy search):
        beam_size: beams per sentence, 5. 1 to 256.
        n_best: hypotheses to return, 1; at most beam_size * patience. Fewer come back where the vocabulary has no more.
            With `sample`, the number of samples, 1 to 1024.
        length_penalty: exponent of the length a score is divided by, 1.0; 0 for none.
        length_penalty_form: "power": sum / length ** length_penalty; "gnmt": sum / ((5 + length) / 6) ** length_penalty
            (Wu et al. 2016).
        coverage_penalty: 0.0, not below. Times the sum over the source tokens of log(min(attention they got, 1)), added to
            finished scores as in CTranslate2 (Wu et al. 2016). The attention is the last layer's, mean over its heads
            (CTranslate2 takes the first head alone).
        patience: 1.0. round(beam_size * patience) finished hypotheses are searched for and kept (Kasai et al. 2022), which
            with early_stopping=True is CTranslate2's rule.
        early_stopping: False: stops when the best living beam, at its present length, is worse than all kept; True: as
            soon as enough are kept; "never": when the best living beam can not become better at any length; "exact": when
            no living beam can come under the first n_best at any length - the n_best of a search that never stops.
    All searches:
        max_length, min_length: generated tokens with the end symbol, 256 and 0: max_new_tokens and min_new_tokens.
            max_length is capped by the model's positions; where min_length is 0 the model's own holds, if it has one.
        repetition_penalty: default the model's own, else 1.0. Above 1 lowers, below 1 raises the score of tokens that the
            hypothesis holds already (Keskar et al. 2019): of their log-probability in beam search, else of their logit.
        no_repeat_ngram_size: default the model's own, else 0. No n-gram of this size comes twice in a hypothesis.
    Sampling (without `sample` the others are refused):
        sample: False. True draws n_best samples per sentence instead of searching; beam_size, coverage_penalty, patience and
            early_stopping have no part in it. Hypotheses come in the order of their numbers.
        temperature, top_k, top_p: 1.0, 0 and 1.0, in this order: logits are divided by temperature; of the top_k best (0:
            all) the fewest that hold the mass top_p are drawn from. Never cut: a nucleus is as wide as it has to be.
        seed: 0. The numbers hang on seed, source ids, prefix, and the sample's number alone: not on the batch, nor on n_best.
    """

    beam_size: int
    n_best: int
    length_penalty: float
    length_penalty_form: Literal["power", "gnmt"]
    coverage_penalty: float
    patience: float
    early_stopping: bool | Literal["never", "exact"]
    max_length: int
    min_length: int
    repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    sample: bool
    temperature: float
    top_k: int
    top_p: float
    seed: int


DEFAULTS: SearchOptions = {
    "beam_size": 5, "n_best": 1, "length_penalty": 1.0, "length_penalty_form": "power", "coverage_penalty": 0.0,
    "patience": 1.0, "early_stopping": False, "max_length": 256, "min_length": 0, "repetition_penalty": None,
    "no_repeat_ngram_size": None, "sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0,
}  # fmt: skip


def resolve(given: Mapping[str, Any], own: Generation) -> dict[str, Any]:
    """Checks options and fills in defaults, the model's `own` settings among them. Returns what the decoder is given.

    Raises: ConfigError: names the option, what it may be and what came.
    """
    for name in given:
        if name not in DEFAULTS:
            raise ConfigError(f"{name}: no option of this translator - there are {', '.join(DEFAULTS)}")
    asked: dict[str, Any] = {**DEFAULTS, **given}
    for name, value in (
        ("repetition_penalty", own.repetition_penalty),
        ("no_repeat_ngram_size", own.no_repeat_ngram_size),
    ):
        asked[name] = value if asked[name] is None else asked[name]
    form, stopping = asked["length_penalty_form"], asked["early_stopping"]
    if form not in ("power", "gnmt"):
        raise ConfigError(f'length_penalty_form: expected "power" or "gnmt", got {form!r}')
    if not isinstance(stopping, (bool, str)) or stopping not in EARLY_STOPPING:
        raise ConfigError(f'early_stopping: expected True, False, "never" or "exact", got {stopping!r}')
    if not isinstance(asked["sample"], bool):
        raise ConfigError(f"sample: expected True or False, got {asked['sample']!r}")
    whole("beam_size", asked["beam_size"], 1, MAX_BEAM_SIZE)
    for name, low, high in (
        ("length_penalty", -100, 100), ("coverage_penalty", 0, 100), ("repetition_penalty", *REPETITION_PENALTY),
        ("patience", 1 / asked["beam_size"], 100), ("temperature", 0.001, 1000), ("top_p", 1e-9, 1),
    ):  # fmt: skip
        asked[name] = number(name, asked[name], low, high)
    kept = max(1, int(asked["beam_size"] * asked["patience"] + 0.5)) if asked["beam_size"] > 1 else 1
    whole("n_best", asked["n_best"], 1, *((MAX_SAMPLES, "") if asked["sample"] else (kept, kept_as(asked["patience"]))))
    whole("max_length", asked["max_length"], 1, 1 << 24)
    whole("min_length", asked["min_length"], 0, asked["max_length"], "max_length")
    whole("no_repeat_ngram_size", asked["no_repeat_ngram_size"], 0, 1 << 24)
    whole("top_k", asked["top_k"], 0, 1 << 24)
    whole("seed", asked["seed"], 0, (1 << 64) - 1)
    idle = [] if asked["sample"] else [name for name in OF_SAMPLES if asked[name] != DEFAULTS[name]]  # type: ignore[literal-required]
    if idle:
        raise ConfigError(f"{idle[0]}: is of sampling alone, got {asked[idle[0]]!r} - add sample=True, or leave it out")
    return {
        **asked, "early_stopping": EARLY_STOPPING[stopping], "min_length": asked["min_length"] or own.min_length,
        "eos": own.eos, "start": own.start, "forced_bos": own.forced_bos, "forced_eos": own.forced_eos,
        "banned": own.banned, "renormalize": own.renormalize,
    }  # fmt: skip


def kept_as(patience: float) -> str:
    """What bounds n_best, in words."""
    return "beam_size" if patience == 1 else "beam_size * patience"


def whole(name: str, value: Any, low: int, high: int, limit: str = "") -> int:
    """Checks a whole number in [low, high]. Raises: ConfigError."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name}: expected a whole number from {low} to {f'{limit} {high}'.strip()}, got {value!r}")
    return value


def number(name: str, value: Any, low: float, high: float) -> float:
    """Checks a number in [low, high]. Raises: ConfigError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def length_penalised(total: float, length: int, options: Mapping[str, Any]) -> float:
    """A summed log-probability by its length penalty, as `resolve` has the options."""
    gnmt = options["length_penalty_form"] == "gnmt"
    base = (5 + length) / 6 if gnmt else max(1, length)
    return float(total / math.pow(base, options["length_penalty"]))
