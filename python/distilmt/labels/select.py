"""`distilmt labels select`: picks of every stored n-best list what a student shall learn, without decoding again.

Line-aligned with the source: a line without a usable label keeps its place as an empty line. Beside the text stands a
JSON file of facts: the rule, counts, hashes, and how much nearer to the gold the choice lies than the model's own.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distilmt.errors import ConfigError, DataError
from distilmt.interface.config import resolve
from distilmt.label import Labels, read_labels
from distilmt.labels.rank import Nearness, Ranked, RankOptions, rank
from distilmt.labels.records import Record, read_records
from distilmt.quality.learned_metrics import MetricOptions
from distilmt.state.storage import read_json, write_json
from distilmt.text.files import COMPRESSED, FileFacts, file_facts, line_writer
from distilmt.text.lines import read_lines
from distilmt.translator.model_options import ModelOptions, translator_of

SIGNATURES = {
    "bleu": "nrefs:1|case:mixed|eff:yes|tok:13a|smooth:exp",
    "chrf": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no",
}
MORE = "label again with more: distilmt label --n-best N"


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """Options of `distilmt labels select`."""

    labels: str = field(metadata={"help": "a finished labelling with n-best lists", "metavar": "LABELS"})
    gold: str | None = field(default=None, metadata={"help": "the source's own translations, line by line"})
    source: str | None = field(default=None, metadata={"help": "of --metric: the text that was labelled"})
    keep: int = field(default=1, metadata={"help": "hypotheses per line; above 1, a file for each place"})
    out: str | None = field(default=None, metadata={"help": "file to write; default: selected.txt in LABELS"})
    model: str | None = field(default=None, metadata={"help": "of --tokens ids: the teacher, which reads the gold"})
    threads: int | None = field(default=None, metadata={"help": "workers; default: all CPUs this process may use"})
    ranking: RankOptions = field(default_factory=RankOptions)
    learned: MetricOptions = field(default_factory=MetricOptions)
    asked: ModelOptions = field(default_factory=ModelOptions)

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ConfigError(f"--keep must be at least 1, got {self.keep}")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise ConfigError(f"--threads must be from 1 to 1024, got {self.threads}")
        if self.model is not None and not self.ranking.by_ids:
            raise ConfigError("--model serves --tokens ids alone - leave it out")
        asks = self.learned.metric is not None
        if asks and not self.ranking.by_metric:
            raise ConfigError(
                f"--metric serves the rules mbr and estimate, got --rule {self.ranking.rule} - leave it out"
            )
        if self.ranking.rule == "estimate" and not asks:
            raise ConfigError("--rule estimate asks a learned metric - name it with --metric and --python")
        if self.ranking.rule == "estimate" and self.learned.metric == "comet" and not self.learned.metric_model:
            raise ConfigError(
                "--rule estimate: comet's usual model compares with a reference - name one that reads none, as in "
                "--metric-model Unbabel/wmt22-cometkiwi-da"
            )
        if asks != (self.source is not None):
            raise ConfigError("--metric reads the source too, and only then: --source FILE, the text that was labelled")
        if self.ranking.needs_gold and self.gold is None:
            raise ConfigError(f"--rule {self.ranking.rule} compares with the gold translations - give --gold FILE")
        if self.ranking.by_ids and self.model is None:
            raise ConfigError("--tokens ids: the teacher's vocabulary must read the gold - give --model TEACHER")


@dataclass
class Selection:
    """What was selected. paths: one text per place, best first; facts: what the JSON file beside the first holds."""

    paths: list[Path]
    facts: dict[str, Any]

    def __str__(self) -> str:
        said = [
            f"{', '.join(map(str, self.paths))}: {self.facts['lines']:,} lines, {self.facts['selected']:,} selected, "
            f"{self.facts['changed']:,} of them not the model's first"
        ]
        for name, near in self.facts["nearness"].items():
            said.append(f"{name} to the gold {near['before']:.2f} -> {near['after']:.2f}")
        return "; ".join([*said, f"sha256 {self.facts['selected_hash'][0][:16]}"])


def select(config: SelectConfig | None = None, **options: Any) -> Selection:
    """Picks of every n-best list the hypothesis that a rule prefers, and writes them line-aligned with the source.

    Args:
        config: a SelectConfig, or its fields as keywords.
    Returns: what was written: the texts, and a JSON file of facts beside the first.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(SelectConfig, config, **options)
    from distilmt.energy.machine import usable_cpus
    from distilmt.interface.progress import bar
    from distilmt.labels.manifest import read_manifest
    from distilmt.labels.merge import RESULT

    labels = read_labels(config.labels)
    manifest = read_manifest(labels.folder)[0]
    stored = manifest["options"]["search"]["n_best"]
    if config.keep > stored:
        raise ConfigError(f"--keep {config.keep}: {labels.folder} holds {stored} hypotheses a line - {MORE}")
    if stored == 1 and config.ranking.rule != "model":
        raise ConfigError(f"--rule {config.ranking.rule}: {labels.folder} holds one hypothesis a line - {MORE}")
    paths = _paths(config)
    _refuse_overwriting(labels, paths)
    gold = None if config.gold is None else _read_gold(config.gold, labels)
    sources = None if config.source is None else _sources(config.source, manifest)
    tally = _Tally()
    with ExitStack() as stack:
        metric = stack.enter_context(config.learned.opened())
        ranked = rank(
            read_records(config.labels),
            None if gold is None else _texts(gold),
            config.ranking,
            encode=_encoder(config),
            threads=config.threads or usable_cpus(),
            metric=metric.score if metric else None,
            sources=sources,
        )
        outs = [stack.enter_context(line_writer(path)) for path in paths]
        shown = stack.enter_context(bar(labels.lines, "selecting", "line"))
        for record, ranking in ranked:
            texts = [record.candidates[place].text for place in ranking.order[: config.keep]]
            for place, out in enumerate(outs):
                out.write(texts[place] if place < len(texts) else "")
            tally.add(record, ranking)
            shown.update()
    facts = {
        "lines": labels.lines, **tally.facts(), "options": asdict(config.ranking) | {"keep": config.keep},
        "labels_hash": read_json(labels.folder / RESULT, "label this text again")["hashes"],
        "metric": metric.signature if metric else None,
        "gold_hash": gold.sha256 if gold else None, "selected_hash": [out.sha256 for out in outs],
    }  # fmt: skip
    write_json(_facts_path(paths[0]), facts)
    return Selection(paths, facts)


def _refuse_overwriting(labels: Labels, paths: list[Path]) -> None:
    """Raises ConfigError where a text or its facts would replace each other, or something of the labelling."""
    facts = _facts_path(paths[0])
    if facts in paths:
        raise ConfigError(f"--out {facts}: this name is that of the facts beside the text - choose another suffix")
    from distilmt.labels.manifest import refuse_overwriting

    refuse_overwriting(labels.folder, *paths, facts)


class _Tally:
    """Counts and means over the lines so far, in the order of the source."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.selected = self.changed = self.compared = 0
        self.before, self.after = Nearness(0, 0), Nearness(0, 0)  # sums

    def add(self, record: Record, ranking: Ranked) -> None:
        self.verdicts[record.verdict] += 1
        if not ranking.order:
            return
        self.selected += 1
        self.changed += record.candidates[ranking.order[0]].text != record.text
        if ranking.before and ranking.after:
            self.compared += 1
            self.before = Nearness(self.before.bleu + ranking.before.bleu, self.before.chrf + ranking.before.chrf)
            self.after = Nearness(self.after.bleu + ranking.after.bleu, self.after.chrf + ranking.after.chrf)

    def facts(self) -> dict[str, Any]:
        nearness = {
            name: {"before": before / self.compared, "after": after / self.compared, "signature": SIGNATURES[name]}
            for name, before, after in zip(SIGNATURES, self.before, self.after, strict=True)
            if self.compared
        }
        return {
            "verdicts": dict(self.verdicts), "selected": self.selected, "changed": self.changed,
            "compared": self.compared, "nearness": nearness,
        }  # fmt: skip


def _read_gold(path: str, labels: Labels) -> FileFacts:
    """Shows, before any work, that there is a gold line for every label."""
    facts = file_facts(path)
    lengths = array("I", (len(line.text) for line in read_lines(path, facts=facts)))
    if facts.lines != labels.lines:
        from distilmt.text.alignment import require_aligned

        pseudo = labels.folder / labels.files["pseudo"]
        require_aligned(pseudo, path, [len(text) for text in labels.pseudo], lengths)
    return facts


def _sources(path: str, manifest: dict[str, Any]) -> Iterator[str]:
    """The lines of the text that was labelled. Raises: DataError: it is another."""
    from distilmt.labels.source import read_text

    how = manifest["options"]["on_invalid_utf8"]
    text = read_text(path, manifest["shard_lines"], how)
    if text.sha256 != manifest["source"]["sha256"]:
        raise DataError(
            f"{path}: not the text that was labelled (its SHA-256 is another) - name that one with --source"
        )
    facts = FileFacts(text.path, text.size, text.mtime_ns, text.inode)
    return (line.text for line in read_lines(path, on_invalid_utf8=how, facts=facts))


def _texts(gold: FileFacts) -> Iterator[str | None]:
    """The text of each gold line, None where it has none. Raises: DataError: the file changed since it was read."""
    facts = FileFacts(gold.path, gold.size, gold.mtime_ns, gold.inode)
    for line in read_lines(gold.path, facts=facts):
        yield line.text if line.status == "ok" else None


def _encoder(config: SelectConfig) -> Callable[[list[str]], list[list[int]]] | None:
    if config.model is None:
        return None
    return translator_of(config.model, config.asked).vocab.encode_target


def _paths(config: SelectConfig) -> list[Path]:
    """`selected.txt`, or `selected.1.txt`, `selected.2.txt`, ...; a suffix of compression stays the last."""
    path = Path(config.out or Path(config.labels) / "selected.txt")
    if config.keep == 1:
        return [path]
    packed = path.suffix if path.suffix in COMPRESSED else ""
    plain = path.with_suffix("") if packed else path
    return [plain.with_name(f"{plain.stem}.{place}{plain.suffix}{packed}") for place in range(1, config.keep + 1)]


def _facts_path(text: Path) -> Path:
    """`selected.json` for `selected.txt` and for `selected.txt.zst`."""
    return (text.with_suffix("") if text.suffix in COMPRESSED else text).with_suffix(".json")
