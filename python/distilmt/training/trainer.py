"""Training of one student: Hugging Face's Seq2SeqTrainer with our objective, our batches and our idea of the best checkpoint.

What differs from the stock trainer, and why:
- the loss comes from hidden states in one native call, summed over target tokens and divided by their global count, so a batch,
  its split into accumulation steps and its split over processes give the same gradient (transformers #37766, #46903);
- batches come from a plan (batches.py) that spans all epochs, so an interrupted run goes on with the very next batch;
- the checkpoint kept is the one with the best BLEU on the dev set, decoded by our translator: under distillation gold perplexity
  gets worse while translations get better (Kim & Rush 2016);
- a step whose gradient is not finite is skipped and its lines are written down; a checkpoint counts only once it is whole.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import MarianMTModel, Seq2SeqTrainer, Seq2SeqTrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from distilmt import models
from distilmt.corpus import write_lines
from distilmt.errors import ResourceError
from distilmt.knn.stored import StoredNeighbours
from distilmt.objectives import Objective
from distilmt.run import append_event
from distilmt.soft_labels import SoftLabelsStore
from distilmt.train import TrainingOptions
from distilmt.training.batches import IGNORED, BatchPlan, MixedPlan, Pairs, collate
from distilmt.training.checkpoints import last_checkpoint, seal
from distilmt.training.own_batches import Sayer, own_objective
from distilmt.training.own_targets import OwnTargets
from distilmt.training.stop import Stop
from distilmt.training.stored_teacher import Stored, StoredTeacher
from distilmt.training.student_loss import StudentLoss
from distilmt.training.teachers import TeacherMix
from distilmt.training.trainer_support import Step, curve, dev_scores, keep_freed_memory, pair_lengths, recall, remember
from distilmt.vocab import Vocab

if TYPE_CHECKING:
    from distilmt.multilingual.loss import Directed, DirectedLoss

# It warns at each checkpoint of file systems with coarse times, where it rightly orders checkpoints by number.
logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)

PROGRESS = "progress.json"  # tokens, seconds and patience so far


@dataclass
class FitResult:
    """What a training produced: the best checkpoint's folder `model`, its `dev_bleu` at `best_update`; `updates`, `target_tokens`
    and `seconds` in all; a `curve` with one entry per evaluation; `skipped_updates`, whose gradient was not finite; `precision`."""

    model: Path
    dev_bleu: float
    best_update: int
    updates: int
    target_tokens: int
    seconds: float
    curve: list[dict[str, Any]] = field(default_factory=list)
    skipped_updates: int = 0
    precision: str = "float32"

    def facts(self) -> dict[str, Any]:
        """For the record of a stage, and the report."""
        return {
            "dev_bleu": self.dev_bleu, "curve": self.curve,
            "training": {
                "updates": self.updates, "best_update": self.best_update, "target_tokens": self.target_tokens,
                "seconds": self.seconds, "tokens_per_second": self.tokens_per_second, "skipped_updates": self.skipped_updates,
                "precision": self.precision,
            },
        }  # fmt: skip

    @property
    def tokens_per_second(self) -> float:
        """Target tokens trained per second, evaluation excluded."""
        return self.target_tokens / self.seconds if self.seconds else 0.0


class _Trainer(Seq2SeqTrainer):
    """See the module's docstring."""

    def __init__(self, *, plan: BatchPlan | MixedPlan, pairs: Pairs, dev: Callable[[Path], dict[str, float]], vocab: Vocab,
                 folder: Path, pad_to: int, patience: int, stored: Stored | None, sayer: Sayer,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.plan, self.pairs, self.dev, self.vocab, self.folder = plan, pairs, dev, vocab, folder
        self.patience, self.sayer = patience, sayer
        self.collate = partial(collate, pairs, eos=vocab.eos_id, pad=vocab.pad_id, pad_to=pad_to, teacher=stored)
        self.progress: dict[str, float] = {"target_tokens": 0, "seconds": 0.0, "logged": 0.0, "skipped": 0, "worse": 0,
                                          "logged_update": 0}  # fmt: skip
        self.sums: dict[str, Tensor] = {}
        self.lines: list[Tensor] = []
        self.gates: list[Tensor] = []
        self.mark = time.perf_counter()

    # ---- batches and loss ----

    def get_train_dataloader(self) -> DataLoader[Any]:
        # Not prepared by accelerate: the plan already gives each process its own batches.
        return DataLoader(self.pairs, batch_sampler=self.plan, collate_fn=self.collate)  # type: ignore[arg-type]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> Tensor:  # fmt: skip
        inputs = dict(inputs)
        self.lines.append(inputs.pop("lines"))
        # Our loss is a sum over the global count, DDP averages gradients over processes: hence the factor.
        count = torch.as_tensor(num_items_in_batch, dtype=torch.float32, device=inputs["labels"].device)
        inputs, own = self.sayer.parts(self.state, len(self.lines), inputs)
        said: Any = None
        if own:
            said = self.sayer.say(self.model.student, own, self.state.global_step)
            # Its share of the step is that of the targets that are replaced; what it reports is counted apart.
            words, tokens = ((each["labels"] != IGNORED).sum() for each in (said, own))
            said["denominator"] = count * words / tokens
        if inputs:
            loss, sums = model(**inputs, denominator=count, said=said)
        else:
            loss, sums = model(**said, own=True)
        for name in ("gate", "own_gate"):
            if name in sums:
                self.gates.append(sums.pop(name))  # read when they are logged: nothing waits for a GPU here
        for name, value in sums.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()
        scaled: Tensor = loss * self.accelerator.num_processes
        return scaled

    def _clip_grad_norm(self, model: nn.Module) -> Tensor | None:
        """Fault case 29: an update whose gradient is not finite is skipped, its lines written to `skipped.jsonl`."""
        norm: Tensor | None = super()._clip_grad_norm(model)
        if norm is not None and not bool(torch.isfinite(norm)):  # all processes see the same norm
            model.zero_grad(set_to_none=True)  # an optimizer step without gradients changes nothing
            self.progress["skipped"] += 1
            lines = torch.cat(self.lines).tolist()
            update = self.state.global_step + 1
            append_event(self.folder / "skipped.jsonl", "skipped_update", update=update, lines=lines)
            if self.progress["skipped"] >= 10:
                last = last_checkpoint(self.folder)
                raise ResourceError(
                    f"training: the gradient was not finite in 10 updates, last in update {update} - lower the learning "
                    f"rate or use --precision float32; the lines are in {self.folder / 'skipped.jsonl'}, the last good "
                    f"checkpoint is {last or 'none'}"
                )
        self.lines.clear()
        return norm

    # ---- evaluation, logs ----

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Dev BLEU of the student as it is now; the best one so far is kept in `best/`."""
        self._clock()
        metrics: dict[str, float] = {}
        if self.is_world_process_zero():
            candidate = self.folder / "candidate"
            models.save(self.model.student, self.vocab, candidate)
            scores = self.dev(candidate)
            best = self.state.best_metric
            # Of equal scores the later counts where the objective changes on the way (annealing): the end is what it is about.
            tie = scores["bleu"] == best and self.model.objective.changes
            better = best is None or scores["bleu"] > best or tie
            self.progress["worse"] = 0 if better else self.progress["worse"] + 1
            if better:
                models.save(self.model.student, self.vocab, self.folder / "best")
            if tie:
                self.state.best_global_step = self.state.global_step
            metrics = {f"eval_{name}": value for name, value in scores.items()} | {"eval_worse": self.progress["worse"]}
        if self.accelerator.num_processes > 1:
            box = [metrics]
            torch.distributed.broadcast_object_list(box, src=0)
            metrics = box[0]
        self.log(dict(metrics))
        self.mark = time.perf_counter()
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if self.patience and metrics["eval_worse"] >= self.patience:
            self.control.should_training_stop = True
        return metrics

    def _clock(self) -> None:
        now = time.perf_counter()
        self.progress["seconds"] += now - self.mark
        self.mark = now

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.sums:
            self._clock()
            sums = {name: float(self.accelerator.reduce(value, reduction="sum")) for name, value in self.sums.items()}
            self.sums = {}
            # Of all targets, of those the student said, and of each direction's.
            counts = {name[:-6]: sums.pop(name) for name in list(sums) if name.endswith("tokens")}
            tokens = counts.setdefault("", 0.0) + counts.get("own_", 0.0)
            seconds = max(1e-9, self.progress["seconds"] - self.progress["logged"])
            logs["tokens_per_second"] = tokens / seconds
            logs["updates_per_second"] = (self.state.global_step - self.progress["logged_update"]) / seconds
            if "nll" in sums:  # plain, of the gold targets
                logs["nll"] = sums.pop("nll") / max(1.0, counts[""])
                logs["perplexity"] = math.exp(min(logs["nll"], 700.0))
            self.progress["target_tokens"] += tokens
            self.progress["logged"], self.progress["logged_update"] = self.progress["seconds"], self.state.global_step
            looked = {name[:-6]: sums.pop(name) for name in list(sums) if name.endswith("looked")}
            for name, value in sums.items():
                of = max((prefix for prefix in counts if name.startswith(prefix)), key=len)
                divisor = looked[of] if name == f"{of}agreement" else max(1.0, counts[of])
                if divisor:
                    logs[f"term_{name}"] = value / divisor
        logs["target_tokens"] = self.progress["target_tokens"]
        logs["seconds"] = self.progress["seconds"]
        super().log(logs, start_time)
        if self.is_world_process_zero():
            facts: dict[str, Any] = {"update": self.state.global_step, **logs}
            if self.gates:  # of every micro-batch since the last entry: how hard a token had to be
                gates = map(float, self.gates)
                facts["gates"] = [gate if math.isfinite(gate) else None for gate in gates]  # JSON knows no infinity
            append_event(self.folder / "events.jsonl", "log", durable=False, **facts)
        self.gates = []

    # ---- checkpoints ----

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if self.args.should_save:
            models.save(self.model.student, self.vocab, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.model.student.load_state_dict(models.load(resume_from_checkpoint).state_dict())
        recall(self.model, Path(resume_from_checkpoint), self.args.process_index)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Case 38: a checkpoint counts once its last file, the list of the others, is on disk."""
        self._clock()
        super()._save_checkpoint(model, trial)
        checkpoint = self.folder / f"checkpoint-{self.state.global_step}"
        remember(self.model, checkpoint, self.args.process_index, first=self.args.should_save)
        self.accelerator.wait_for_everyone()  # before the list of files is made
        if self.args.should_save:
            write_lines(checkpoint / PROGRESS, [json.dumps(self.progress)])
            seal(checkpoint)
        self.sayer.forget()
        self.mark = time.perf_counter()


def fit(
    student: MarianMTModel,
    vocab: Vocab,
    pairs: Pairs,
    dev: tuple[Sequence[str], Sequence[str]],
    *,
    objective: Objective,
    teacher: MarianMTModel | Sequence[MarianMTModel] | SoftLabelsStore | StoredNeighbours | None,
    options: TrainingOptions,
    folder: Path,
    name: str = "training",
    own: OwnTargets | None = None,
    target_lang: str = "",
    snapshot: MarianMTModel | None = None,
    mix: TeacherMix | None = None,
    directed: Directed | None = None,
) -> FitResult:
    """Trains a student and keeps the checkpoint with the best dev BLEU in `folder/best`.

    An interrupted call goes on from the last whole checkpoint in `folder` when called again with the same arguments; on the
    CPU the weights are then bit for bit those of an uninterrupted run.

    Args:
        student: trained in place.
        pairs: training pairs.
        dev: source and reference sentences, line-aligned.
        objective: what to minimise; `teacher` is needed by terms that look at it, several are made one by `mix`.
        folder: `best/`, `events.jsonl`, `skipped.jsonl`, and checkpoints, which the caller removes once it has what it wants.
        name: label of the progress bar.
        own: batches whose targets the student says itself; none where absent.
        snapshot: what terms look at that keep an earlier student; absent, the student as it is given here.
        target_lang: of the dev set's references, as for `distilmt.evaluate.score`.
        directed: of a multilingual student: its teachers and dev sets, in place of `teacher` and `dev`.
    Returns: curve, BLEU and cost.
    Raises: ConfigError, ResourceError; KeyboardInterrupt on Ctrl-C and after the checkpoint that SIGTERM asks for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    precision = options.resolve_precision()
    cuda = torch.cuda.is_available()
    if options.threads:
        torch.set_num_threads(options.threads)
    if not cuda:
        keep_freed_memory()
    pad_to = 8 if precision == "bfloat16" else 1  # oneDNN builds and keeps a primitive for each new shape
    world = int(os.environ.get("WORLD_SIZE", "1"))
    plan = pairs.plan(
        pair_lengths(pairs), tokens=options.batch_tokens, steps=options.updates * options.accumulate,
        seed=options.seed, rank=int(os.environ.get("RANK", "0")), world=world, pad_to=pad_to,
    )  # fmt: skip
    every = min(options.eval_every, options.updates)
    args = Seq2SeqTrainingArguments(
        output_dir=str(folder), max_steps=options.updates, gradient_accumulation_steps=options.accumulate,
        learning_rate=options.learning_rate, warmup_steps=min(options.warmup, options.updates // 4),
        lr_scheduler_type=options.schedule, weight_decay=options.weight_decay, max_grad_norm=options.clip_norm or 1e9,
        adam_beta1=0.9, adam_beta2=0.98, adam_epsilon=1e-9, optim="adamw_torch_fused",
        bf16=precision == "bfloat16", use_cpu=not cuda, seed=options.seed, data_seed=options.seed,
        eval_strategy="steps", eval_steps=every, save_strategy="steps", save_steps=every, save_total_limit=2,
        metric_for_best_model="bleu", greater_is_better=True, logging_steps=min(options.log_every, every),
        logging_nan_inf_filter=False, report_to=options.report_to or "none", disable_tqdm=True,
        remove_unused_columns=False, average_tokens_across_devices=True, dataloader_pin_memory=cuda,
        label_names=["labels"], ddp_find_unused_parameters=own is not None and own.needs_teacher,
    )  # fmt: skip
    stored: Stored | None = teacher if isinstance(teacher, StoredNeighbours) else None
    if isinstance(teacher, SoftLabelsStore):
        stored = StoredTeacher(teacher, student.config.vocab_size - 1)
    own = own or OwnTargets()
    for each in filter(None, (objective, of_own := own_objective(own, objective))):
        each.know(pairs.word_counts(vocab))
    torch.manual_seed(options.seed)  # what terms learn beside the student begins the same whatever came before
    loss: StudentLoss | DirectedLoss
    if directed is None:
        loss = StudentLoss(
            student, objective, teacher if stored is None else stored, of_own, snapshot=snapshot, mix=mix
        )
        dev_of: Any = partial(dev_scores, dev=dev, options=options, target_lang=target_lang)
    else:
        loss, dev_of = directed.loss(student, objective), partial(directed.dev_scores, options=options)
    sayer = Sayer(own, eos=vocab.eos_id, pad=vocab.pad_id, seed=options.seed, threads=options.threads, pad_to=pad_to)
    stop = Stop(name, sayer.fresh)
    trainer = _Trainer(
        plan=plan, pairs=pairs, vocab=vocab, folder=folder, pad_to=pad_to, patience=options.patience, stored=stored,
        sayer=sayer, dev=dev_of,
        model=loss, args=args, train_dataset=pairs, eval_dataset=pairs,
        callbacks=[stop, Step(loss), *([directed] if directed else [])],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    checkpoint = last_checkpoint(folder)
    if checkpoint is not None:
        trainer.progress |= json.loads((checkpoint / PROGRESS).read_text())
    torch.manual_seed(options.seed)
    trainer.mark = time.perf_counter()
    with stop:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.terminated:
        raise KeyboardInterrupt(f"stopped by SIGTERM after update {trainer.state.global_step}; checkpoint written")
    trainer._clock()
    return FitResult(
        model=folder / "best", dev_bleu=float(trainer.state.best_metric), best_update=int(trainer.state.best_global_step),
        updates=trainer.state.global_step, target_tokens=int(trainer.progress["target_tokens"]),
        seconds=trainer.progress["seconds"], curve=curve(trainer.state.log_history),
        skipped_updates=int(trainer.progress["skipped"]), precision=precision,
    )  # fmt: skip
