"""A student of a run: trained phase by phase, each a stage; and how any system of the run does on the test sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilmt.distilling.distill_report import set_name
from distilmt.distilling.methods import ALONE, Method, Phase
from distilmt.train import fit_text, new_model
from distilmt.training.checkpoints import remove_checkpoints

if TYPE_CHECKING:
    from distilmt.corpus import Corpus
    from distilmt.distilling.materials import Materials
    from distilmt.run import Run

DECODED_IN = "float32"  # test sets, whatever serves a student later


def train_student(name: str, method: Method, seed: int, materials: Materials, run: Run) -> tuple[Path, dict[str, Any]]:
    """One student's folder in `run` and the facts of its training; `made_by` names the stages that it took.

    The updates are shared out among the phases, so that every method of a run takes equally many.
    """
    made_by: list[str] = []
    folder: Path | None = None
    trainings: list[dict[str, Any]] = []
    updates, count = materials.config.training.updates, len(method.phases)
    for number, phase in enumerate(method.phases, 1):
        last = number == count
        own = max(1, updates // count if not last else updates - (updates // count) * (count - 1))
        folder, facts, stages = _phase(
            name if last else f"{name}.{number}", phase, seed, materials, run, folder, own,
            alone=method is ALONE,
        )  # fmt: skip
        trainings.append(facts)
        made_by += [stage for stage in stages if stage not in made_by]
    assert folder is not None
    return folder, _together(trainings) | {"made_by": made_by}


def _together(trainings: list[dict[str, Any]]) -> dict[str, Any]:
    """The facts of all phases: what they cost adds up, the curves follow each other, dev BLEU is the last one's."""
    facts, behind = dict(trainings[-1]), 0
    if len(trainings) == 1:
        return facts
    curve = []
    for each in trainings:
        curve += [point | {"update": point["update"] + behind} for point in each["curve"]]
        behind += each["training"]["updates"]
    sums = {
        key: sum(each["training"][key] for each in trainings)
        for key in ("updates", "target_tokens", "seconds", "skipped_updates")
    }
    best = facts["training"]["best_update"] + sums["updates"] - facts["training"]["updates"]
    speed = sums["target_tokens"] / sums["seconds"] if sums["seconds"] else 0.0
    training = facts["training"] | sums | {"best_update": best, "tokens_per_second": speed}
    return facts | {"curve": curve, "training": training}


def _phase(
    name: str, phase: Phase, seed: int, materials: Materials, run: Run, before: Path | None, updates: int, *, alone: bool
) -> tuple[Path, dict[str, Any], list[str]]:  # fmt: skip
    """One training: its folder, its facts, and the stages that it took."""
    from distilmt import models
    from distilmt.distilling.teaching import promoted
    from distilmt.knn import StoredNeighbours
    from distilmt.marian.weights import identity
    from distilmt.objectives import parse
    from distilmt.recipes import denoise
    from distilmt.recipes.hybrid import Mixture
    from distilmt.soft_labels import SoftLabelsStore
    from distilmt.training.layer_init import copy_layers
    from distilmt.vocab import Vocab

    materials = materials.of(phase)
    if phase.promoted:
        assert before is not None  # a method's first phase is not
        materials, before = promoted(materials, before, run, f"{name}-"), None
    config, teacher = materials.config, materials.teacher
    teachers = materials.teachers if phase.teacher is None else [materials.teachers[phase.teacher]]
    objective = parse(phase.objective)  # anew for each student: some remember what they have seen
    options = replace(
        config.training, seed=seed, updates=updates, learning_rate=config.training.learning_rate * phase.rate,
    )  # fmt: skip
    inputs = materials.text_inputs() | {
        "size": config.student_size, "recipe": phase.recipe, "objective": phase.objective, "training": options.inputs(),
        "vocab": Vocab.load(teacher).hash,
    }  # fmt: skip
    needs, own = phase.taught(objective, config.own, alone=alone)
    if needs or phase.recipe != "gold" or phase.teacher_layers:
        inputs["teacher"] = identity(teachers)
        inputs |= {"mix": asdict(config.mix)} if len(teachers) > 1 else {}
    if phase.teacher_layers:
        by = config.data.init_layers
        inputs["layers"] = "teacher" if by == "published" else f"teacher, {by}"
    if before is not None:
        inputs["before"] = models.weights_hash(before)
    looked_at, stages = materials.looked_at(objective, phase.recipe) if needs else (None, [])
    if own is not None:
        inputs["own"] = asdict(own)
    if isinstance(looked_at, SoftLabelsStore):
        inputs["soft labels"] = looked_at.hash
    elif isinstance(looked_at, StoredNeighbours):
        inputs["neighbours"] = looked_at.hash
    text, made = materials.data(phase.recipe)
    dev = denoise.of(materials.dev) if phase.recipe == "denoise" else materials.dev
    if phase.recipe != "gold":
        parts = text.parts if isinstance(text, Mixture) else [text]
        inputs["pseudo target"] = [part.target_hash for part in parts] if len(parts) > 1 else parts[0].target_hash
        inputs |= {"data": asdict(config.data)} if config.data != type(config.data)() else {}
    with run.stage(f"student-{name}", inputs, "student-training") as stage:
        if not stage.done:
            vocabulary = Vocab.load(teacher)
            size = models.parse_size(config.student_size)
            if before is not None:
                student = models.load(before)
            elif phase.teacher_layers:
                first = models.load(teacher)
                student = new_model(size, vocabulary, options, first.config.activation_function)
                copy_layers(student, first, by=config.data.init_layers)
            else:
                student = new_model(size, vocabulary, options)
            asked = [models.load(each) for each in teachers] if isinstance(looked_at, list) else looked_at
            fit = fit_text(
                student, vocabulary, text, dev, objective, asked, options, stage.folder, name,
                own, mix=config.mix if len(teachers) > 1 else None,
            )  # fmt: skip
            stage.finish(outputs={"model": fit.model}, facts=fit.facts())
            remove_checkpoints(stage.folder)
        return (
            stage.folder / "best",
            dict(stage.facts),
            [*dict.fromkeys([*materials.adaptations, *made, *stages]), stage.name],
        )


def score_system(
    name: str, folder: Path, materials: Materials, tests: list[Corpus], also: Sequence[Path] = ()
) -> dict[str, Any]:
    """Scores and speed of one system on every test set, of a model or of the ensemble that it leads."""
    from distilmt import models
    from distilmt.bill.serving import decode_facts
    from distilmt.evaluate import evaluate
    from distilmt.marian.weights import identity
    from distilmt.text.files import OWN_WORDS, language_of
    from distilmt.training.teachers import together_of

    run, config, members = materials.run, materials.config, [folder, *also]
    together = together_of(members, config.mix)
    inputs = {"model": identity(members), "beam_size": config.test_beam_size, "exact": config.exact} | {
        f"test {set_name(test[0])}": text.source_hash + text.target_hash
        for test, text in zip(config.test, tests, strict=True)
    }
    inputs |= {key: value for key, value in together.items() if key != "also"}
    languages = {set_name(test[0]): language_of(test[1]) for test in config.test}
    inputs |= {f"language {test}": language for test, language in languages.items() if language in OWN_WORDS}
    with run.stage(f"evaluate-{name}", inputs, "evaluation") as stage:
        if not stage.done:
            scores, tokens, usages, kept = {}, 0, [], {}
            for test in config.test:
                kept[set_name(test[0])] = path = stage.folder / f"{set_name(test[0])}.txt"
                out = evaluate(
                    model=str(folder), test=test, beam_size=config.test_beam_size, threads=config.training.threads,
                    repeats=config.test_repeats, metering=config.metering, out=str(path), compute_type=DECODED_IN, **together,
                )  # fmt: skip
                scores[set_name(test[0])] = _score_facts(out.scores, config.exact)
                assert out.target_tokens is not None  # a model was evaluated
                tokens += out.target_tokens
                usages.append(out.usages)
            decode = decode_facts(usages, [text.sources for text in tests], tokens)
            stage.finish(
                outputs={f"hypotheses {test}": path for test, path in kept.items()},
                facts={
                    "test": scores, "hypotheses": {test: str(path.relative_to(run.folder)) for test, path in kept.items()},
                    "parameters": sum(models.parameters(models.load(each)) for each in members),
                    "file_bytes": sum(map(models.size_bytes, members)),
                    "tokens_per_second": tokens / decode["seconds"],
                    "decode": {
                        "beam_size": config.test_beam_size, "threads": config.training.threads, "compute_type": DECODED_IN,
                    } | decode,
                },
            )  # fmt: skip
        elif (timed := len(stage.facts.get("decode", {}).get("repeats") or ())) < config.test_repeats:
            print(
                f"distilmt: {stage.name} is done, timed {timed} of {config.test_repeats} times - to time it anew delete "
                f"{stage.path} and run the same command",
                file=sys.stderr,
            )
        return dict(stage.facts)


def _score_facts(scores: Any, exact: bool) -> dict[str, Any]:
    keys = ["bleu", "chrf", "bleu_signature", "chrf_signature"] + ["exact"] * exact
    return {key: getattr(scores, key) for key in keys}
