"""A methods paragraph, ready to paste into a paper: what was run, in the past tense, with its references."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from distilmt.report.cells import count
from distilmt.report.citations import bibtex, citation, cited
from distilmt.report.numbers import Data, runs_of, systems_of, tests_of
from distilmt.report.tables import energy_covered

_SCHEDULES = {
    "linear": "linear decay", "inverse_sqrt": "decay with the inverse square root of the update", "cosine": "cosine decay",
    "constant_with_warmup": "no decay",
}  # fmt: skip


@dataclass(frozen=True)
class Methods:
    """A paragraph, its references as a list, and the same as BibTeX."""

    text: str
    references: list[str]
    bibtex: str


def paragraphs(data: Data) -> list[Methods]:
    """One for each setup of the report; runs of one setup, say of several seeds, share one.

    Empty where no run recorded its setup (those of an older version).
    """
    groups: dict[str, list[Data]] = {}
    for run in runs_of(data):
        run = run | {"setup": _known(run.get("setup"))}
        if run["setup"]:
            teacher = run["setup"].get("teacher", {}) | {"weights": ""}  # one trained in each run is of one setup
            groups.setdefault(json.dumps(run["setup"] | {"teacher": teacher}, sort_keys=True), []).append(run)
    found = []
    for runs in groups.values():
        together = runs[0] | {key: [each for run in runs for each in run[key]] for key in ("systems", "stages")}
        labels = f"{', '.join(run['label'] for run in runs)}: " if len(groups) > 1 else ""
        text = labels + " ".join(_sentences(together))
        found.append(Methods(text, [each.reference for each in cited(text)], bibtex(cited(text))))
    return found


def _known(value: Any) -> Any:
    """Without what is null."""
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items() if inner is not None}
    return [_known(each) for each in value] if isinstance(value, list) else value


def _sentences(data: Data) -> Iterable[str]:
    setup = data["setup"]
    yield _models(data)
    if texts := setup.get("texts"):
        parts = [f"{text.get('pairs', 0):,} pairs of {text['name']}" for text in texts]
        yield f"Text: {', '.join(parts)}{f' ({way})' if (way := data.get('direction')) else ''}."
    if (vocabulary := setup.get("teacher", {}).get("vocabulary")) is not None:
        yield f"Teacher and students shared a SentencePiece vocabulary of {vocabulary:,} pieces{citation('SentencePiece')}."
    yield from _methods(data)
    for who, key in (("The teacher was", "teacher_training"), ("Students were", "training")):
        if options := setup.get(key):
            yield _optimisation(who, options, _precisions(data, key))
    yield from _decoding(data)
    if rows := data.get("significance"):
        tests = dict.fromkeys(row["test"] for row in rows if row["test"])
        p = f"; p by {', '.join(tests)}, with Holm's correction{citation('Holm', *tests)}" if tests else ""
        yield f"Differences of scores: 95% intervals of the paired bootstrap{citation('bootstrap')}{p}."
    yield _energy(data["stages"])
    versions = data["versions"]
    software = [
        f"{name} {versions[name]}" for name in ("distilmt", "torch", "transformers", "sacrebleu") if name in versions
    ]
    machine = data["machine"].get("processor")
    yield f"Software: {', '.join(software)}{f'; processor: {machine}' if machine else ''}."


def _models(data: Data) -> str:
    setup, parts = data["setup"], []
    for role, key in (("teacher", "teacher"), ("students", "student")):
        shape = setup.get(key) or {}
        parameters = next(
            (e["parameters"] for e in data["systems"] if (e["role"] == "teacher") == (key == "teacher")), None
        )
        about = [] if parameters is None else [f"{count(parameters)} parameters"]
        if {"encoder_layers", "decoder_layers", "hidden", "ffn", "heads"} <= set(shape):
            about.insert(
                0,
                f"{_layers(shape, 'encoder')} and {_layers(shape, 'decoder')}, width {shape['hidden']}, "
                f"feed-forward width {shape['ffn']}, {shape['heads']} heads",
            )
        parts.append(f"the {role} had {', '.join(about)}" if about else f"the size of the {role} was not recorded")
    return f"Teacher and students were Marian Transformers{citation('Marian', 'Transformer')}: {'; '.join(parts)}."


def _layers(shape: Data, side: str) -> str:
    number = shape[f"{side}_layers"]
    return f"{number} {side} layer{'' if number == 1 else 's'}"


def _methods(data: Data) -> Iterable[str]:
    from distilmt.distilling.methods import named
    from distilmt.errors import ConfigError

    for system in systems_of(data):
        if system.role == "teacher":
            continue
        name, recipe, objective = (system.first(key) or "" for key in ("method", "recipe", "objective"))
        try:
            summary = named(name).summary
        except ConfigError:  # given in full, by recipe and objective
            summary = ""
        described = f"{system.name}: recipe {recipe}, objective {objective}"
        yield (
            described + (f" - {summary}" if summary else "") + f"{citation(name, recipe, objective, besides=summary)}."
        )
    labelled = {stage["name"] for stage in data["stages"] if stage.get("kind") == "labelling"}
    if labelled and (beam := data["setup"].get("label_beam_size")):
        yield f"The teacher labelled by beam search of size {beam}."
    if share := data["setup"].get("own", {}).get("share"):
        yield f"On {share:.0%} of batches targets were the student's own (on-policy{citation('on-policy')})."


def _precisions(data: Data, key: str) -> list[str]:
    """What the trainings worked in, as they recorded it; else what was asked for."""
    trained = [
        entry.get("training") or {} for entry in data["systems"] if (entry["role"] == "teacher") == (key != "training")
    ]
    asked = data["setup"][key].get("precision", "auto")
    return list(dict.fromkeys(found for each in trained if (found := each.get("precision", asked)) != "auto"))


def _optimisation(who: str, options: Data, precisions: list[str]) -> str:
    steps = f"{options['updates']:,} updates" if "updates" in options else "updates"
    batches = (
        f" of {options['batch_tokens'] * options.get('accumulate', 1):,} padded tokens"
        if "batch_tokens" in options
        else ""
    )
    parts = [f"AdamW{citation('AdamW')} (betas 0.9 and 0.98)"]
    if "learning_rate" in options:
        rate = f"peak learning rate {options['learning_rate']:g}"
        after = _SCHEDULES.get(options.get("schedule", ""), "")
        parts.append(
            f"{rate}, linear warm-up over {options.get('warmup', 0):,} updates" + (f", then {after}" if after else "")
        )
    for key, words in (
        ("dropout", "dropout"),
        ("weight_decay", "weight decay"),
        ("clip_norm", "gradient norm at most"),
    ):
        if options.get(key):
            parts.append(f"{words} {options[key]:g}")
    if precisions:
        parts.append(" and ".join("bfloat16 autocast" if each == "bfloat16" else each for each in precisions))
    return f"{who} trained for {steps}{batches} with {'; '.join(parts)}; dev BLEU chose the checkpoint."


def _decoding(data: Data) -> Iterable[str]:
    seeds = list(
        dict.fromkeys(e["seed"] for e in data["systems"] if e["role"] != "teacher" and e.get("seed") is not None)
    )
    if seeds:
        yield f"Seeds: {', '.join(map(str, seeds))}."
    scores = [entry["test"][test] for test in tests_of(data) for entry in data["systems"] if test in entry["test"]]
    signatures = {
        key: "; ".join(dict.fromkeys(each[key] for each in scores)) for key in ("bleu_signature", "chrf_signature")
    }
    beam = data["setup"].get("test_beam_size")
    numbers = dict.fromkeys(
        found for entry in data["systems"] if (found := (entry.get("decode") or {}).get("compute_type"))
    )
    how = f" in {' and '.join(numbers)}" * bool(numbers) + (f" with a beam of {beam}" if beam else "")
    yield (
        f"Test sets were decoded{how} and scored by sacreBLEU"
        f"{citation('sacreBLEU', 'chrF')}: BLEU {signatures['bleu_signature']}, chrF {signatures['chrf_signature']}."
    )


def _energy(stages: list[Data]) -> str:
    """By what the energy of making and evaluating was found out."""
    ways = {
        stage["energy_method"]: " (estimated)" if stage.get("energy_kind") == "estimated" else ""
        for stage in stages if stage["joules"] is not None
    }  # fmt: skip
    if not ways:
        return "Energy was not measured."
    covered = energy_covered(stages)
    return (
        f"Energy: {', '.join(way + kind for way, kind in ways.items())}{', over ' * bool(covered)}{', '.join(covered)}."
    )
