"""Commands that are a loop around another module: translate, score, methods, explain."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from distilmt.interface.config import resolve
from distilmt.soft_labels.code import FLOOR
from distilmt.translator.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.translator.compute_type import ComputeType
from distilmt.translator.model_options import ModelOptions, NeighbourOptions, SearchFlags, translator_of

if TYPE_CHECKING:
    from distilmt.distilling.methods import Method
    from distilmt.translate import Translation

BLOCK = 1000  # lines decoded at a time: enough to sort by length and feed every worker, few enough for a steady stream
MODEL_HELP = "a model's folder or hub name"


@dataclass(frozen=True, kw_only=True)
class TranslateConfig:
    """Options of `distilmt translate`."""

    model: str = field(metadata={"help": MODEL_HELP, "metavar": "MODEL"})
    scores: bool = field(
        default=False, metadata={"help": "write the score, log-probability by length, before the text"}
    )
    too_long: Literal["skip", "truncate", "split"] = field(
        default="skip", metadata={"help": "what to do with a line of more tokens than the model has positions"}
    )
    compute_type: ComputeType = field(default="auto", metadata={"help": COMPUTE_TYPE_HELP})
    threads: int | None = field(default=None, metadata={"help": "workers; default: all CPUs this process may use"})
    search: SearchFlags = field(default_factory=SearchFlags)
    asked: ModelOptions = field(default_factory=ModelOptions)
    neighbours: NeighbourOptions = field(default_factory=NeighbourOptions, metadata={"prefix": "knn_"})
    on_invalid_utf8: Literal["error", "replace", "quarantine"] = field(
        default="error", metadata={"help": "what to do with bytes that are no UTF-8"}
    )


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Options of `distilmt score`."""

    model: str = field(metadata={"help": MODEL_HELP, "metavar": "MODEL"})
    source: str = field(metadata={"help": "source text", "metavar": "FILE"})
    target: str = field(metadata={"help": "its translations, line by line", "metavar": "FILE"})
    out: str | None = field(
        default=None, metadata={"help": "folder for soft labels to train on, in place of scores", "metavar": "FOLDER"}
    )
    soft_labels: int = field(
        default=8, metadata={"help": "with --out: likely tokens stored per target token; 0: the exact hidden states"}
    )
    soft_floor: float = field(
        default=FLOOR, metadata={"help": "with --out: tokens less probable are stored as one mass"}
    )
    length_penalty: float = field(default=1.0, metadata={"help": "scores are divided by length to this power"})
    compute_type: ComputeType = field(default="auto", metadata={"help": COMPUTE_TYPE_HELP})
    threads: int | None = field(default=None, metadata={"help": "workers; default: all CPUs this process may use"})
    asked: ModelOptions = field(default_factory=ModelOptions)


def translate(config: TranslateConfig | None = None, **options: Any) -> None:
    """Translates standard input to standard output, line by line.

    One line comes out for each line that goes in, or with --n-best N up to N, each behind the number of its source
    line. Columns are separated by tabs: number (with --n-best above 1), score (with --scores), text. A line that has
    no translation (empty, or not fit to be read) gives an empty text; standard error counts them.

    Raises:
        ConfigError, DataError, ResourceError.
    """
    config = resolve(TranslateConfig, config, **options)

    translator = translator_of(config.model, config.asked, compute_type=config.compute_type, threads=config.threads)
    search: Any = config.search.options() | {"neighbours": config.neighbours.finder(config.model, config.threads)}
    lines = _standard_input(config.on_invalid_utf8)
    counts: Counter[str] = Counter()
    while block := list(islice(lines, BLOCK)):
        translations = translator.translate(
            [line.text if line.status == "ok" else "" for line in block],
            too_long=config.too_long,
            **search,
        )
        for line, translation in zip(block, translations, strict=True):
            counts[line.status if line.status == "quarantined" else translation.status] += 1
            sys.stdout.writelines(_rows(line.number, translation, config))
        sys.stdout.flush()
    if set(counts) - {"ok"}:
        said = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
        print(f"distilmt: {counts.total():,} lines: {said}", file=sys.stderr)


def _rows(number: int, translation: Translation, config: TranslateConfig) -> Iterator[str]:
    found = [(f"{each.score:.6f}", each.text) for each in translation.hypotheses[: config.search.n_best]]
    for score, text in found or [("", "")]:
        columns = [str(number)] * (config.search.n_best > 1) + [score] * config.scores
        # The text comes last, so that a tab in it adds no column; a line end in it would shift every line that follows.
        yield "\t".join([*columns, text.replace("\n", " ").replace("\r", " ")]) + "\n"


def _standard_input(on_invalid_utf8: Any) -> Iterator[Any]:
    """Lines of standard input by the rule of every other text: only `\\n` ends one, and none is dropped."""
    from distilmt.text.files import FileFacts
    from distilmt.text.lines import read_lines

    class Stream(FileFacts):
        def verify_unchanged(self) -> None:
            """A pipe has no size or time to compare."""

    return read_lines("/dev/stdin", on_invalid_utf8=on_invalid_utf8, facts=Stream("/dev/stdin", 0, 0, 0))


def score(config: ScoreConfig | None = None, **options: Any) -> str | None:
    """Scores given translations: one line per pair, its columns separated by tabs.

    Columns: score (log-probability divided by the length to the power of --length-penalty), log-probability in nats,
    tokens with the end symbol, status. Where nothing was scored the first two are empty and tokens is 0. Standard
    error has the mean per token.

    With --out FOLDER it writes no lines but what the model held likely at each token of the translations: soft labels,
    for `distilmt train --soft-labels FOLDER` (docs/soft-labels.md).

    Raises:
        ConfigError, DataError, ResourceError.
    """
    config = resolve(ScoreConfig, config, **options)
    from distilmt import corpus

    text = corpus.load_corpus((config.source, config.target))
    translator = translator_of(config.model, config.asked, compute_type=config.compute_type, threads=config.threads)
    if config.out is not None:
        from distilmt.translator.forced import store_forced

        return str(
            store_forced(
                text, translator, config.out, k=config.soft_labels, floor=config.soft_floor, what=config.target
            )
        )
    total, tokens = 0.0, 0
    for first in range(0, len(text.sources), BLOCK):
        part = slice(first, first + BLOCK)
        statuses = text.statuses[part]
        usable = [i for i, status in enumerate(statuses, first) if status == "ok"]
        scored = iter(
            translator.score(
                [text.sources[i] for i in usable],
                [text.targets[i] for i in usable],
                length_penalty=config.length_penalty,
            )
        )
        for status in statuses:
            out = next(scored) if status == "ok" else None
            if out is None or not out.log_probs:
                print(f"\t\t0\t{out.status if out else status}")
                continue
            print(f"{out.score:.6f}\t{sum(out.log_probs):.6f}\t{len(out.log_probs)}\t{out.status}")
            total, tokens = total + sum(out.log_probs), tokens + len(out.log_probs)
    mean = f"{total / tokens:.6f} nats per token" if tokens else "nothing was scored"
    print(f"distilmt: {len(text.sources):,} pairs, {tokens:,} tokens, {mean}", file=sys.stderr)
    return None


def methods() -> str:
    """Names for --method, a line each: what they train on or minimise, and where they come from; `explain` has the formulas."""
    from distilmt.distilling.methods import ALONE, BY_OPTION, METHODS

    listed = [(method.name, method.summary) for method in (ALONE, *METHODS.values())]
    lines = [f"{name:<19} {summary}" for name, summary in listed]
    lines += ["", "Joined by +: one that makes data with one that is a loss, as in seq-kd+word-kd."]
    lines += ["Joined by /: one after the other, as in seq-kd/seq-inter+word-kd."]
    lines += ["", "By option, with any of these:", *(f"{option:<40} {what}" for option, what in BY_OPTION.items())]
    return "\n".join(
        [*lines, "", "Data, losses and numbers of one: distilmt explain NAME. All in words: docs/methods.md."]
    )


def _listed(method: Method) -> list[str]:
    from distilmt.distilling.recipe_options import READERS, RecipeOptions

    lines = [method.name, f"    {method.summary}"]
    for number, phase in enumerate(method.phases):
        begin = "then " if number else "from the teacher's layers, " if phase.teacher_layers else ""
        begin += "with each teacher in turn, " if phase.in_turn else ""
        begin += "with the adapted teacher on the text it was adapted to, " if phase.adapted else ""
        begin += "anew, with the student of before as teacher, " if phase.promoted else ""
        lines += [f"    {begin}recipe {phase.recipe}", f"    objective {phase.objective}"]
        if phase.own:
            place = "and beside it" if phase.own.beside else "but"
            whose = "samples" if phase.own.sample else "own words"
            lines.append(f"    {place} on the student's {whose} {phase.own.objective}")
            numbers = {name: value for name, value in asdict(phase.own).items() if name != "objective"}
            lines.append(f"    own targets: {', '.join(f'{name} {value}' for name, value in numbers.items())}")
        if phase.rate != 1:
            lines.append(f"    learning rate times {phase.rate:g}")
        read = [name for name, readers in READERS.items() if readers & phase.readers]
        if read:
            defaults = [f"--{name.replace('_', '-')} {getattr(RecipeOptions(), name)}" for name in read]
            lines.append(f"    unless given {', '.join(defaults)}")
    return lines


def explain(expression: str) -> str:
    """What an objective is made of: each term with its weight, all its parameters, and its formula and source.

    Of a method's name: its data and its objectives, in order.
    """
    from distilmt.distilling.methods import named

    if "(" in expression or not expression.islower():  # terms; names of methods are in small letters
        return _explained(expression)
    method = named(expression)
    parts = ["\n".join(_listed(method))]
    for phase in method.phases:
        recipe = import_module(f"distilmt.recipes.{phase.recipe.replace('-', '_')}")
        parts += [f"recipe     {phase.recipe}\n{_indented(recipe.__doc__)}", _explained(phase.objective)]
        if phase.own and phase.own.objective:
            parts.append(f"on the student's own targets\n{_explained(phase.own.objective)}")
    return "\n\n".join(dict.fromkeys(parts))


def _explained(expression: str) -> str:
    from distilmt.objectives import parse

    objective = parse(expression)
    lines = [f"objective  {objective}", f"teacher    {'needed' if objective.needs_teacher else 'not needed'}"]
    for weight, term in objective.terms:
        given = ", ".join(f"{each.name}={getattr(term, each.name)!r}" for each in fields(term) if each.init)  # type: ignore[arg-type]
        lines += ["", f"{weight:g} * {type(term).__name__}({given})"]
        # A term's file opens with what it is, then its formula, then its source.
        parts = inspect.cleandoc(sys.modules[type(term).__module__].__doc__ or "").split("\n\n")
        numbers = [
            f"{letter} = {value:g}"
            for name, letter in term.letters.items()
            if (value := getattr(term, name)) is not None
        ]
        parts.insert(2, f"    with {', '.join([f'weight {weight:g}', *numbers])}")
        lines.append(_indented("\n\n".join(parts)))
    return "\n".join(lines)


def _indented(text: str | None) -> str:
    return "\n".join(f"    {line}".rstrip() for line in inspect.cleandoc(text or "").splitlines())
