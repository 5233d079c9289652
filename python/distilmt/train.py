"""`distilmt train`: one model from line-aligned text. The loop itself is in training/trainer.py, whose imports are heavy."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distilmt.energy import EnergyOptions, Meter, Usage
from distilmt.errors import ConfigError
from distilmt.interface.config import resolve
from distilmt.text.lines import OnInvalidUtf8
from distilmt.training.checkpoints import remove_checkpoints
from distilmt.training.own_targets import OwnTargets
from distilmt.training.teachers import TeacherMix

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.training.trainer import FitResult


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a model is optimised; the same for a teacher and for every student of a run.

    The defaults suit models of the size of `tiny` on a few hundred thousand pairs. AdamW with betas (0.9, 0.98), linear or
    inverse-square-root decay after a linear warm-up: Vaswani et al. 2017.
    """

    updates: int = _option(10_000, "optimizer steps")
    batch_tokens: int = _option(4096, "padded tokens of a batch on its longer side, per process and accumulation step")
    accumulate: int = _option(1, "batches added up before an optimizer step")
    learning_rate: float = _option(1e-3, "peak learning rate")
    warmup: int = _option(500, "updates of linear warm-up (at most a quarter of all)")
    schedule: Literal["linear", "inverse_sqrt", "cosine", "constant_with_warmup"] = _option(
        "linear", "after the warm-up"
    )
    dropout: float = _option(0.1, "dropout of a model that is created here")
    weight_decay: float = _option(0.0, "decoupled weight decay")
    clip_norm: float = _option(1.0, "largest gradient norm; 0 for no limit")
    precision: Literal["auto", "float32", "bfloat16"] = _option("auto", "auto: bfloat16 autocast with AMX or CUDA")
    seed: int = _option(1, "of initial weights, dropout and data order")
    eval_every: int = _option(500, "updates between evaluations on the dev set, each with a checkpoint")
    eval_beam_size: int = _option(1, "beam size of these evaluations")
    log_every: int = _option(50, "updates between lines of events.jsonl")
    patience: int = _option(0, "stop after so many evaluations without a better dev BLEU; 0: never")
    threads: int | None = _option(None, "CPU threads; default: all this process may use")
    max_positions: int = _option(512, "longest sentence in tokens of a model that is created here")
    report_to: str | None = _option(
        None, "a tracker of Hugging Face's trainer: tensorboard, wandb, mlflow, trackio, ..."
    )

    def __post_init__(self) -> None:
        for name in (
            "updates",
            "batch_tokens",
            "accumulate",
            "eval_every",
            "log_every",
            "max_positions",
            "eval_beam_size",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), got {self.dropout}")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate must be positive, got {self.learning_rate}")

    def inputs(self) -> dict[str, Any]:
        """What the result depends on; how many threads and which tracker may change between two starts of a run."""
        return {k: v for k, v in asdict(self).items() if k not in ("threads", "report_to", "log_every")}

    def resolve_precision(self) -> str:
        """`float32` or `bfloat16`. Auto takes bfloat16 where the machine multiplies it faster: CUDA from Ampere on, or AMX."""
        import torch

        from distilmt import _native

        if self.precision != "auto":
            return self.precision
        if torch.cuda.is_available():
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        return "bfloat16" if "amx" in _native.available_isas() else "float32"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of `distilmt train`."""

    train: tuple[str, str] = field(metadata={"help": "training text, line-aligned", "metavar": "SOURCE TARGET"})
    dev: tuple[str, str] = field(metadata={"help": "text that chooses the checkpoint", "metavar": "SOURCE TARGET"})
    out: str = field(metadata={"help": "folder of the model; its checkpoints lie in OUT.training until it is done"})
    size: str = _option("tiny", "a preset, or ENCxDEC:HIDDEN:FFN:HEADS")
    vocab: str | None = _option(None, "model folder whose vocabulary to use; default: train a joint one")
    vocab_size: int = _option(8000, "size of a vocabulary that is trained here")
    vocab_model: Literal["unigram", "bpe"] = _option("unigram", "kind of a vocabulary that is trained here")
    init_from: str | None = _option(
        None, "model to start from: same width and vocabulary; a deeper one's layers are copied by the published tables"
    )
    init_layers: Literal["published", "every-nth"] = _option(
        "published", "which layers of a deeper --init-from: DistilBART's tables, or one of every n"
    )
    objective: str = _option("NLL(label_smoothing=0.1)", "what to minimise, as in `distilmt explain`")
    teacher: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "help": "model that an objective with a teacher looks at; several of one vocabulary are made one",
            "metavar": "MODEL...",
        },
    )
    soft_labels: str | None = _option(None, "in its place its stored soft labels of the training text")
    neighbours: str | None = _option(None, "or neighbours of its tokens, for KNNKD (distilmt knn search)")
    snapshot: str | None = _option(
        None, "earlier student that an objective with Inheritance() keeps to; default: the one of --init-from"
    )
    on_invalid_utf8: OnInvalidUtf8 = field(
        default="error", metadata={"help": "what to do with bytes that are no UTF-8"}
    )
    mix: TeacherMix = field(default_factory=TeacherMix, metadata={"prefix": "teacher_"})
    own: OwnTargets = field(default_factory=OwnTargets, metadata={"prefix": "own_"})
    training: TrainingOptions = field(default_factory=TrainingOptions)
    metering: EnergyOptions = field(default_factory=EnergyOptions)


@dataclass
class TrainResult:
    """A trained model folder and how it got there.

    Attributes:
        model: the folder. fit: how the training went.
        usage: cost of training, killed and interrupted attempts included; under torchrun, what the first process and its
            machine used.
    """

    model: Path
    fit: FitResult
    usage: Usage | None = None

    def __str__(self) -> str:
        cost = f"\ncost  {self.usage}" if self.usage else ""
        return (
            f"{self.model}: dev BLEU {self.fit.dev_bleu:.2f} at update {self.fit.best_update} of {self.fit.updates}; "
            f"{self.fit.target_tokens:,} target tokens in {self.fit.seconds:,.0f} s ({self.fit.tokens_per_second:,.0f} tokens/s)"
            f"{cost}"
        )


def train(config: TrainConfig | None = None, **options: Any) -> TrainResult:
    """Trains a model on line-aligned text and writes an ordinary Marian folder.

    Args:
        config: a TrainConfig, or its fields as keywords (those of `training` may be given directly).
    Returns: the model folder, curve and cost. Called again after an interruption it goes on where it stopped.
    Raises: ConfigError, DataError, ResourceError.
    """
    config = resolve(TrainConfig, config, **options)
    from accelerate import PartialState

    from distilmt import corpus, models, vocab
    from distilmt.knn import StoredNeighbours
    from distilmt.objectives import parse
    from distilmt.soft_labels import SoftLabels

    objective = parse(config.objective)
    if sum(given is not None for given in (config.teacher, config.soft_labels, config.neighbours)) > 1:
        raise ConfigError("--soft-labels and --neighbours take the place of --teacher - give one of them")
    store: Any = SoftLabels.open(config.soft_labels) if config.soft_labels else None
    if config.neighbours:
        store = StoredNeighbours.open(config.neighbours)
        store.verify()
    names = config.teacher or ()
    teacher = [models.load(name) for name in names] or store
    config.mix.check(len(names) or 1)
    needs = objective.needs_teacher or config.own.needs_teacher
    if needs and teacher is None:
        asks = config.objective if objective.needs_teacher else config.own.objective
        if any(term.neighbour_temperature for _, term in objective.terms):
            raise ConfigError(
                f"objective {asks!r} looks at neighbours - make them by `distilmt knn build --model TEACHER ...` and "
                "`distilmt knn search`, and name their folder with --neighbours"
            )
        raise ConfigError(f"objective {asks!r} looks at a teacher - name one with --teacher, or its --soft-labels")
    if objective.needs_snapshot and not (config.init_from or config.snapshot):
        raise ConfigError(
            f"objective {config.objective!r} keeps what a student knew, this one begins with nothing - name a model with "
            "--init-from, or with --snapshot"
        )
    text = corpus.load_corpus(config.train, on_invalid_utf8=config.on_invalid_utf8)
    dev = corpus.load_corpus(config.dev)
    say_notes(text, dev)
    work = Path(config.out + ".training")
    words: Any = config.vocab or config.init_from or next(iter(names), store and store.folder / "vocab")
    with PartialState().main_process_first():  # the first process makes the vocabulary, the others read it
        if words:
            vocabulary = vocab.Vocab.load(models.folder_of(words))
        elif (work / "vocab" / "vocab.json").exists():
            vocabulary = vocab.Vocab.load(work / "vocab")
        else:
            vocabulary = vocab.Vocab.train(
                [line for _, *pair in text.pairs() for line in pair], config.vocab_size, model_type=config.vocab_model
            )
            vocabulary.save(work / "vocab")
    for name, role in [(name, "teacher") for name in names if needs] + [
        (name, role) for name, role in ((config.init_from, "first model"), (config.snapshot, "snapshot")) if name
    ]:
        vocab.require_same(vocabulary, vocab.Vocab.load(models.folder_of(name)), f"{role} {name}")
    student = first_student(
        models.parse_size(config.size), vocabulary, config.training, config.init_from, config.init_layers
    )
    # Counters count whole machines, so one process looks at them: torchrun's first; accelerate knows its rank only once it trains.
    leads, cost = os.environ.get("RANK", "0") == "0", work / "cost.json"
    with Meter(config.metering, checkpoint=cost) if leads else nullcontext() as meter:
        fit_result = fit_text(
            student, vocabulary, text, dev, objective, teacher, config.training, work, Path(config.out).name, config.own,
            snapshot=models.load(config.snapshot) if config.snapshot else None, mix=config.mix,
        )  # fmt: skip
    if PartialState().is_main_process:
        if cost.exists():
            os.replace(cost, work / "finished-cost.json")  # the next training of this name starts from nothing
        shutil.rmtree(config.out, ignore_errors=True)
        shutil.move(str(fit_result.model), config.out)
        fit_result.model = Path(config.out)
        remove_checkpoints(work)
    return TrainResult(Path(config.out), fit_result, meter.usage if meter else None)


def say_notes(*texts: Corpus) -> None:
    """Tells on standard error what a user should know of the text that was read: lines left out, line ends, marks."""
    for text in texts:
        for note in text.notes:
            print(f"distilmt: {note}", file=sys.stderr)


def new_model(size: Any, vocabulary: Any, options: TrainingOptions, activation: str = "relu") -> Any:
    """A model of a size with the options' dropout, positions and seed."""
    from distilmt import models

    return models.create(
        size, vocabulary, dropout=options.dropout, seed=options.seed, max_positions=options.max_positions,
        activation=activation,
    )  # fmt: skip


def first_student(
    size: Any, vocabulary: Any, options: TrainingOptions, init_from: str | Path | None, layers: Any = "published"
) -> Any:
    """What a training begins with: a new model, the one named by `init_from`, or, of another depth, a copy of its layers, which
    `layers` chooses.

    Raises: DataError: it has another vocabulary; ConfigError: another width.
    """
    from distilmt import models, vocab
    from distilmt.training.layer_init import copy_layers

    if init_from is None:
        return new_model(size, vocabulary, options)
    vocab.require_same(vocabulary, vocab.Vocab.load(models.folder_of(init_from)))
    first = models.load(init_from)
    if models.size_of(first) == size:
        return first
    student = new_model(size, vocabulary, options, first.config.activation_function)
    encoder, decoder = copy_layers(student, first, by=layers)
    print(f"distilmt: layers {encoder} and {decoder} of {init_from} are copied", file=sys.stderr)
    return student


def fit_text(
    student: Any, vocabulary: Any, text: Any, dev: Any, objective: Any, teacher: Any, options: TrainingOptions,
    folder: Path, name: str, own: OwnTargets | None = None, *, snapshot: Any = None, mix: TeacherMix | None = None,
) -> FitResult:  # fmt: skip
    """Encodes a corpus and trains on it: what `train` and every student of `distill` share. The teacher: a model, several of
    one vocabulary, or stored soft labels or neighbours of this corpus; the others as of `trainer.fit`."""
    from distilmt.evaluate import bleu_of
    from distilmt.knn import StoredNeighbours
    from distilmt.recipes.hybrid import Mixture
    from distilmt.soft_labels import SoftLabelsStore
    from distilmt.training.batches import Pairs, encode_pairs
    from distilmt.training.trainer import fit

    bleu_of(dev.target_language)  # says now what the dev set's scores will need
    teacher = teacher if objective.needs_teacher or (own is not None and own.needs_teacher) else None
    if isinstance(teacher, SoftLabelsStore | StoredNeighbours):
        if isinstance(text, Mixture):
            raise ConfigError("what is stored belongs to one text, a mixture has several - use the teacher itself")
        teacher.require(vocab=vocabulary.hash, source=text.source_hash, target=text.target_hash)
    found = []
    for part in text.parts if isinstance(text, Mixture) else [text]:
        kept = list(part.pairs())
        found.append(
            encode_pairs(
                [source for _, source, _ in kept], [target for _, _, target in kept], [index + 1 for index, _, _ in kept],
                vocabulary, max_tokens=student.config.max_position_embeddings, what="training text",
                store=teacher if isinstance(teacher, SoftLabelsStore) else None,
            )
        )  # fmt: skip
    pairs = Pairs.mixed(found, text.shares) if isinstance(text, Mixture) else found[0]
    return fit(
        student, vocabulary, pairs, (dev.sources, dev.targets), objective=objective, teacher=teacher, options=options,
        own=own, folder=folder, name=name, target_lang=dev.target_language, snapshot=snapshot, mix=mix,
    )  # fmt: skip
