"""`distilmt evaluate`: sacreBLEU's BLEU and chrF, each with the signature that makes it comparable, and decoding speed.

    score(["A dog runs."], ["A dog is running."])                   # files in memory
    evaluate(model="run/student", test=("test.de", "test.en"))      # translate, then score
    evaluate(model="run/student", test_set="wmt14/de-en")           # a named test set, downloaded by sacreBLEU
    evaluate(hypotheses="out.en", references=("test.en",))          # score a file

Source: Post 2018 (arXiv:1804.08771), BLEU; Popović 2015 (W15-3049), chrF.
"""

from __future__ import annotations

import difflib
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from distilmt.energy import EnergyOptions, Meter, Usage
from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.interface.config import resolve
from distilmt.quality.learned_metrics import Learned, LearnedOptions, Unavailable
from distilmt.text.files import language_of, plain_language
from distilmt.translator.compute_type import HELP as COMPUTE_TYPE_HELP
from distilmt.translator.compute_type import ComputeType
from distilmt.translator.model_options import ModelOptions, NeighbourOptions, translator_of


@dataclass(frozen=True)
class Scores:
    """Quality of one set of hypotheses.

    Attributes:
        bleu, chrf: corpus scores in points, 0 to 100.
        exact: share of lines, 0 to 1, that equal one of their references, blanks at the ends aside.
        bleu_signature, chrf_signature: sacreBLEU's; scores with different signatures are not comparable.
        sentences: number of lines.
    """

    bleu: float
    chrf: float
    exact: float
    bleu_signature: str
    chrf_signature: str
    sentences: int

    def __str__(self) -> str:
        return (
            f"BLEU  {self.bleu:.1f}  {self.bleu_signature}\nchrF  {self.chrf:.1f}  {self.chrf_signature}\n"
            f"exact {self.exact:.1%} of {self.sentences} lines"
        )


def score(
    hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]], *, target_lang: str = ""
) -> Scores:
    """Scores hypotheses against one or several references each.
    Args:
        hypotheses: one translation per line.
        references: one line per hypothesis; or a list of such lists, one per set of references.
        target_lang: lets sacreBLEU split Chinese, Japanese or Korean into words its own way (see the signature).
    Raises:
        DataError: nothing to score, or counts differ (sacreBLEU itself would silently score the shorter part).
        ConfigError: sacreBLEU lacks the package that splits this language.
    """
    if not hypotheses or not references:
        raise DataError(f"score: nothing to score, got {len(hypotheses)} hypotheses and {len(references)} references")
    streams: list[Sequence[str]]
    streams = [references] if isinstance(references[0], str) else list(references)  # type: ignore[list-item]
    for number, stream in enumerate(streams, 1):
        if len(stream) != len(hypotheses):
            raise DataError(
                f"score: {len(hypotheses)} hypotheses, but {len(stream)} lines in reference {number} of {len(streams)}"
                " - both must be translations of the same lines, in order"
            )
    from sacrebleu.metrics import CHRF  # here, since it imports numpy and `distilmt --help` should be quick

    bleu, chrf = bleu_of(target_lang), CHRF()
    # A signature knows the number of references only after the score.
    bleu_score, chrf_score = bleu.corpus_score(hypotheses, streams), chrf.corpus_score(hypotheses, streams)
    exact = sum(
        any(line.strip() == stream[row].strip() for stream in streams) for row, line in enumerate(hypotheses)
    ) / len(hypotheses)
    return Scores(
        bleu=bleu_score.score,
        chrf=chrf_score.score,
        exact=exact,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
        sentences=len(hypotheses),
    )


def bleu_of(target_lang: str) -> Any:
    """sacreBLEU's BLEU for a language. Raises: ConfigError: it lacks the package that splits this language."""
    from sacrebleu.metrics import BLEU

    try:
        return BLEU(trg_lang=plain_language(target_lang))
    except (ImportError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"score: sacreBLEU cannot split {target_lang!r} into words: {why}") from None


def test_set(name: str) -> tuple[list[str], list[list[str]]]:
    """Reads one of sacreBLEU's named test sets, from its cache (~/.sacrebleu or $SACREBLEU) or from the network.
    Args:
        name: test set and language pair, as in "wmt14/de-en" or "wmt14/full/de-en".
    Returns:
        Source lines, and one list of lines per set of references.
    Raises:
        ConfigError: no such test set or language pair.
        ResourceError: it is not in the cache and cannot be downloaded.
    """
    from sacrebleu import DATASETS

    found, _, pair = name.rpartition("/")
    if found not in DATASETS:
        near = difflib.get_close_matches(found or name, DATASETS, 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`sacrebleu --list` names them"
        raise ConfigError(f"--test-set {name}: sacreBLEU has no test set {found!r} - write SET/PAIR; {hint}")
    data = DATASETS[found]
    if pair not in data.langpairs:
        raise ConfigError(
            f"--test-set {name}: {found} has no pair {pair!r} - it has {', '.join(sorted(data.langpairs))}"
        )
    try:
        sources = list(data.source(pair))
        references = [[line.strip() for line in lines] for lines in zip(*data.references(pair), strict=True)]
    except (OSError, EOFError, tarfile.TarError, SystemExit) as error:  # it leaves by sys.exit on a wrong checksum
        raise ResourceError(
            f"--test-set {name}: sacreBLEU could not fetch it ({error}) - connect to a network, "
            "or fill its cache (~/.sacrebleu or $SACREBLEU) on a machine that has one"
        ) from None
    return sources, references


test_set.__test__ = False  # type: ignore[attr-defined]  # its name looks like a test's to pytest


def _option(default: Any, help: str, metavar: str = "") -> Any:
    return field(default=default, metadata={"help": help, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Options of `distilmt evaluate`."""

    model: str | None = _option(None, "translate with this model, a folder or hub name", "MODEL")
    test: tuple[str, str] | None = _option(None, "source and reference text for --model", "SOURCE TARGET")
    hypotheses: str | None = _option(None, "score this file instead", "FILE")
    references: tuple[str, ...] = _option((), "its reference files", "FILE...")
    test_set: str | None = _option(None, "sacreBLEU's named test set, as in wmt14/de-en", "SET/PAIR")
    target_lang: str | None = _option(
        None, "language by which sacreBLEU splits words [default: what the reference file's name ends in]", "LANG"
    )
    beam_size: int = _option(5, "beam size of --model")
    threads: int | None = _option(None, "threads of --model [default: all cores]")
    repeats: int = _option(1, "decode so many times, each timed on its own: their spread says how sure the speed is")
    out: str | None = _option(None, "also write the translations of --model here", "FILE")
    # A model's quality is that of its weights: float32, not what rounds fastest.
    compute_type: ComputeType = field(default="float32", metadata={"help": COMPUTE_TYPE_HELP})
    learned: LearnedOptions = field(default_factory=LearnedOptions)
    asked: ModelOptions = field(default_factory=ModelOptions)
    neighbours: NeighbourOptions = field(default_factory=NeighbourOptions, metadata={"prefix": "knn_"})
    metering: EnergyOptions = field(default_factory=EnergyOptions)

    def __post_init__(self) -> None:
        if (self.model is None) == (self.hypotheses is None):
            raise ConfigError("evaluate: give either --model MODEL or --hypotheses FILE")
        if self.model is not None and self.references:
            raise ConfigError("evaluate: --references goes with --hypotheses; for --model give --test SOURCE TARGET")
        if self.model is None and self.test is not None:
            raise ConfigError("evaluate: --test goes with --model; for --hypotheses give --references FILE")
        if bool(self.test or self.references) == (self.test_set is not None):
            text = "--references" if self.model is None else "--test"
            raise ConfigError(f"evaluate: give either {text} or --test-set")
        if self.out is not None and self.model is None:
            raise ConfigError("evaluate: --out writes translations and needs --model")
        if self.hypotheses is not None and self.asked != ModelOptions():
            raise ConfigError("evaluate: --engine, --source-language and --target-language go with --model")
        if self.hypotheses is not None and (unused := self._of_a_model()):
            raise ConfigError(
                f"evaluate: {', '.join(unused)}: belongs to --model, for a file is only scored - leave it out"
            )
        if bool(self.learned.sources) != bool(self.learned.metric and self.references):
            raise ConfigError(
                "evaluate: --metric with --references reads the source too, and only then: --sources FILE"
            )
        for name in ("beam_size", "repeats"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluate: --{name.replace('_', '-')} must be 1 or more, got {getattr(self, name)}")

    def _of_a_model(self) -> list[str]:
        """Options that say how a model decodes and what is metered, and are not at their defaults."""
        names = ("beam_size", "threads", "repeats", "compute_type")
        given = [name for name in names if getattr(self, name) != getattr(type(self), name)]
        given += ["knn_datastore"] * (self.neighbours.datastore is not None)
        given += [each.name for each in fields(EnergyOptions) if getattr(self.metering, each.name) != each.default]
        return [f"--{name.replace('_', '-')}" for name in given]


@dataclass(frozen=True)
class EvaluateResult:
    """Scores and what they were computed from; decoding facts are None where a file was scored.

    Attributes:
        scores: BLEU, chrF and equal lines.
        hypotheses: one translation per source line, empty for an empty source.
        references: the first reference of each; the scores are of all.
        statuses: how many translations had each status ("ok", "empty_source", "max_length", ...).
        target_tokens: tokens decoded, end symbols included.
        source_words: words of the source, split at white space.
        usages: time, memory and energy of each decoding of the whole text; loading the model is not in it.
        learned: what a learned metric found by the first reference, or why it found nothing; None where none was asked for.
    """

    scores: Scores
    hypotheses: list[str]
    references: list[str]
    statuses: dict[str, int] | None = None
    target_tokens: int | None = None
    source_words: int | None = None
    usages: tuple[Usage, ...] = ()
    learned: Learned | Unavailable | None = None

    @property
    def usage(self) -> Usage | None:
        """Of the first decoding."""
        return self.usages[0] if self.usages else None

    @property
    def seconds(self) -> float | None:
        """Of a decoding, mean over the repeats."""
        return fmean(usage.seconds for usage in self.usages) if self.usages else None

    @property
    def tokens_per_second(self) -> float | None:
        """Target tokens decoded per second of wall time."""
        if self.seconds is None or self.target_tokens is None:
            return None
        return self.target_tokens / self.seconds

    @property
    def peak_rss_bytes(self) -> int | None:
        """Most memory of the process in any decoding."""
        return max(usage.peak_rss_bytes for usage in self.usages) if self.usages else None

    def __str__(self) -> str:
        scores = f"{self.scores}\n{self.learned}" if self.learned else str(self.scores)
        if self.usage is None:
            return scores
        counts = ", ".join(f"{count} {status}" for status, count in sorted((self.statuses or {}).items()))
        speed = f"speed {self.tokens_per_second:.0f} target tokens/s ({self.target_tokens} tokens; {counts})"
        return f"{scores}\n{speed}\ncost  {self.usage}"


def evaluate(config: EvaluateConfig | None = None, **options: Any) -> EvaluateResult:
    """Scores a model or a file of translations with BLEU and chrF.

    Everything is read and counted before the model is loaded.
    Args:
        config: an EvaluateConfig, or its fields as keywords.
    Raises:
        ConfigError: options that contradict each other, or no such test set.
        DataError: text that cannot be scored as it is: counts differ, bytes that are not UTF-8, control characters.
        ResourceError: the test set cannot be downloaded.
    """
    config = resolve(EvaluateConfig, config, **options)
    target_lang = _target_lang(config)
    bleu_of(target_lang)  # says now what is not installed
    if config.model is None:
        assert config.hypotheses is not None  # __post_init__ saw to it
        hypotheses = _whole(config.hypotheses)
        if config.test_set:
            sources, references = test_set(config.test_set)
            names = [config.test_set] * (1 + len(references))
        else:
            names = [config.learned.sources or config.hypotheses, *config.references]  # no metric, no source
            sources, *references = map(_whole, names)
        for path, reference in zip(names, [sources, *references], strict=True):
            if len(reference) != len(hypotheses):
                raise DataError(
                    f"{config.hypotheses}: {len(hypotheses)} lines, but {path} has {len(reference)} - "
                    "both must be translations of the same lines, in order"
                )
        scores = score(hypotheses, references, target_lang=target_lang)
        learned = config.learned.score(sources, hypotheses, references[0])
        return EvaluateResult(scores, hypotheses, references[0], learned=learned)
    sources, references = _test_pairs(config.test) if config.test else test_set(config.test_set or "")
    translator = translator_of(config.model, config.asked, compute_type=config.compute_type, threads=config.threads)
    asked: Any = {"beam_size": config.beam_size, "neighbours": config.neighbours.finder(config.model, config.threads)}
    translator.translate(sources[:8], **asked)  # loads the vocabulary and the index, touches the weights
    usages = []
    for _ in range(config.repeats):
        with Meter(config.metering) as meter:
            translations = translator.translate(sources, **asked)
            meter.add_tokens(sum(len(each.hypotheses[0].log_probs) for each in translations if each.hypotheses))
        assert meter.usage is not None
        usages.append(meter.usage)
    hypotheses = [translation.text for translation in translations]
    if config.out is not None:
        from distilmt.text.files import write_lines

        write_lines(config.out, (line.replace("\n", " ") for line in hypotheses))
    return EvaluateResult(
        scores=score(hypotheses, references, target_lang=target_lang),
        hypotheses=hypotheses,
        references=references[0],
        statuses=dict(Counter(translation.status for translation in translations)),
        target_tokens=usages[0].tokens,
        source_words=sum(len(line.split()) for line in sources),
        usages=tuple(usages),
        learned=config.learned.score(sources, hypotheses, references[0]),
    )


def _target_lang(config: EvaluateConfig) -> str:
    if config.target_lang is not None or config.test_set is not None:
        return config.target_lang or (config.test_set or "").rpartition("-")[2]
    return language_of(config.test[1] if config.test else config.references[0])


def _whole(path: str | Path) -> list[str]:
    """All lines of a file; one that cannot be used is an error, since a score is of all lines."""
    from distilmt.text.lines import read_lines

    lines = []
    for line in read_lines(path):
        if line.status == "quarantined":
            raise DataError(f"{path}:{line.number}: {line.reason} - a score is of all lines: mend this one")
        lines.append(line.text)
    return lines


def _test_pairs(test: tuple[str, str]) -> tuple[list[str], list[list[str]]]:
    from distilmt.corpus import load_corpus

    corpus = load_corpus(test)
    if "quarantined" in corpus.statuses:
        line = corpus.quarantined[0]
        raise DataError(f"{line.path}:{line.number}: {line.reason} - a score is of all lines: mend this one")
    if not corpus.sources:
        raise DataError(f"{test[0]}: no lines to translate")
    return corpus.sources, [corpus.targets]
