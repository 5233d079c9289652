"""Short names: a method is a recipe (what data) and an objective (what loss); `+` joins the two kinds, `/` is "and then"."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distilmt.errors import ConfigError
from distilmt.training.own_targets import OwnTargets

if TYPE_CHECKING:
    from distilmt.objectives import Objective

PLAIN = "NLL(label_smoothing=0.1)"
FINE_TUNING = 0.1  # of the learning rate: Kim & Rush 2016 fine-tune by SGD at 0.1 after 1.0
RELEASED = (
    "NLL(label_smoothing=0.1, smoothing='all')"  # fairseq's older smoothing, of the selective and the kNN-KD code
)


@dataclass(frozen=True)
class Phase:
    """One training.

    Args:
        recipe, objective: data and loss.
        teacher_layers: it begins with the teacher's layers (layer_init.py).
        rate: what the learning rate is multiplied by.
        own: targets that the student says itself, where the method asks for them; else the run's options decide.
        adapted: it takes place in the other domain: on --adapt-train, with the teacher adapted to it.
        in_turn: it is done once with each teacher of the run, in their order; `teacher` then counts them, from 0.
        promoted: its teacher is the student of the phase before, and its student begins anew; done until there are as many
            students as --rounds.
    """

    recipe: str
    objective: str
    teacher_layers: bool = False
    rate: float = 1.0
    own: OwnTargets | None = None
    adapted: bool = False
    in_turn: bool = False
    teacher: int | None = None
    promoted: bool = False

    @property
    def readers(self) -> set[str]:
        """What of it reads options of data (recipe_options.READERS): the recipe, a loss on neighbours, the teacher's layers."""
        read = {"KNNKD": "KNNKD" in self.objective, "noisy-student": self.promoted, "layers": self.teacher_layers}
        return {self.recipe, *(name for name, reads in read.items() if reads)}

    def taught(self, objective: Objective, own: OwnTargets, *, alone: bool) -> tuple[bool, OwnTargets | None]:
        """Whether a teacher speaks in it, and the targets that the student says where one does.

        Args:
            objective: this phase's. own: the run's. alone: it is of the baseline, which stays alone.
        """
        chosen = self.own or (own if own.share else None)
        needs = objective.needs_teacher or (not alone and chosen is not None and chosen.needs_teacher)
        return needs, chosen if needs else None


@dataclass(frozen=True)
class Method:
    """A name for one training, or for several, each of which begins with the student of the one before."""

    name: str
    recipe: str
    objective: str
    summary: str
    teacher_layers: bool = False
    then: tuple[Phase, ...] = ()
    own: OwnTargets | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All trainings, in order."""
        return Phase(self.recipe, self.objective, self.teacher_layers, own=self.own), *self.then

    @property
    def formula(self) -> str:
        """Data and loss of every phase: what the name means."""
        return " / ".join(f"{phase.recipe}: {phase.objective}" for phase in self.phases)

    def of_run(self, teachers: int, rounds: int) -> Method:
        """With as many phases as there are teachers where it takes them in turn, and rounds where students become teachers."""
        then: list[Phase] = []
        for phase in self.then:
            then += [replace(phase, teacher=t) for t in range(teachers)] if phase.in_turn else [phase]
            then += [phase] * (rounds - 2) * phase.promoted
        return self if tuple(then) == self.then else replace(self, then=tuple(then))


_GOLD = "gold pairs"  # how the summary of a method that takes them begins
_KD = "0.5 * NLL(label_smoothing=0.1) + 0.5 * "


def _samples(objective: str, beside: bool = True) -> OwnTargets:
    """f-distill's side of the student: samples of its own, always fresh, of every batch."""
    return OwnTargets(share=1.0, sample=True, temperature=1.0, every=1, beside=beside, objective=objective)


def _imitation(objective: str) -> OwnTargets:
    """ImitKD's student prefixes: greedy, sentence by sentence, from none to nearly all.

    On gold prefixes `imitkd` takes NLL of gold, as the released code; with the paper's teacher's best word on both: Top1().
    """
    return OwnTargets(share=1.0, schedule="exponential", by="sentence", objective=objective)


def _loss(name: str, objective: str, summary: str) -> Method:
    return Method(name, "gold", objective, f"{_GOLD}; {summary}")


METHODS = {
    m.name: m
    for m in (
        _loss("word-kd", _KD + "WordKD()", "the teacher's distribution at every token (Kim & Rush 2016, section 3.1)"),
        Method(
            "seq-kd", "seq-kd", PLAIN,
            "the teacher's beam search output in place of the references (Kim & Rush 2016, section 3.2)",
        ),
        Method(
            "seq-inter", "seq-inter", PLAIN,
            "the hypothesis of the teacher's beam that is nearest the reference in its place (Kim & Rush 2016, section 3.3)",
        ),
        Method("mbr", "mbr", PLAIN, "the hypothesis of the beam with the highest expected chrF (Finkelstein et al. 2024)"),
        Method("mixed", "mixed", PLAIN, "by sentence gold or the teacher's output, by --pseudo-share (NeMo's ratios)"),
        Method(
            "hybrid", "hybrid", "NLL() + WordKD()",
            "by batch gold or the teacher's output, by --pseudo-share, and the teacher's distribution on both (NeMo)",
        ),
        Method("gold-kd", "gold-kd", PLAIN, "gold and pseudo pairs together (base+kd, Gordon & Duh 2019)"),
        Method("gold-kd-bt", "gold-kd-bt", PLAIN, "and back-translated ones (base+kd+bt, Gordon & Duh 2019)"),
        Method("gold-best", "gold-best", PLAIN, "gold and the --keep best of the teacher's beam (base+best-2, Gordon & Duh 2019)"),
        Method("n-best", "n-best", PLAIN, "the --keep best of the teacher's beam (Galiano-Jimenez et al. 2025)"),
        Method("forward", "forward", PLAIN, "pseudo pairs, also of more source text (Aji & Heafield 2020)"),
        Method("round-trip", "round-trip", PLAIN, "pseudo pairs, also of target text sent back and forth (Aji & Heafield 2020)"),
        Method(
            "stacked", "seq-kd", PLAIN, "seq-kd, then word-kd on the hypotheses nearest the reference (Kim & Rush 2016, section 5)",
            then=(Phase("seq-inter", _KD + "WordKD()", rate=FINE_TUNING),),
        ),
        Method(
            "annealing", "gold", "LogitMSE(stages=10)", "the teacher's logits, annealed, then gold (Jafari et al. 2021)",
            then=(Phase("gold", PLAIN),),
        ),
        _loss("knn-kd", f"{RELEASED} + KNNKD(temperature=100)",
              "what the nearest neighbours of each token say, searched once (kNN-KD, Yang et al. 2022)"),
        Method(
            "layers", "gold", PLAIN, f"{_GOLD} from a thinner copy of the teacher (shrink and fine-tune, Shleifer & Rush 2020)",
            teacher_layers=True,
        ),
        Method(
            "triple-layers", "gold", "2 * NLL() + 5 * WordKD(temperature=2.0) + Cosine()",
            "the triple loss from a thinner copy of the teacher (DistilBERT, Sanh et al. 2019)", teacher_layers=True,
        ),
        _loss("tempered", "NLL() + WordKD(temperature=2.0)", "KL at a temperature, times T^2 (Hinton et al. 2015)"),
        _loss(
            "triple", "2 * NLL() + 5 * WordKD(temperature=2.0) + Cosine()",
            "cross-entropy, KL and the cosine of hidden states (DistilBERT, Sanh et al. 2019)",
        ),
        _loss(
            "hidden", "0.2 * NLL() + 0.8 * WordKD(temperature=2.0) + 3 * HiddenMSE(normalise=True)",
            "KL and hidden states, layer by layer (Shleifer & Rush 2020)",
        ),
        _loss("selective", f"{RELEASED} + SelectiveKD(rate=0.5)", "KL on the hard half of a batch's tokens (Wang et al. 2021)"),
        _loss(
            "selective-global", f"{RELEASED} + SelectiveKD(rate=0.5, level='global', queue_size=30000)",
            "KL on tokens that are hard among the last 30,000 (Wang et al. 2021)",
        ),
        _loss(
            "tie", _KD + "WordKD(iterations=3) + 0.5 * Ranking(iterations=3)",
            "the teacher's ranking of its best tokens, on prefixes of the student's own (TIE-KD, Zhang et al. 2023a)",
        ),
        _loss("js", "JensenShannon()", "the Jensen-Shannon divergence, on given prefixes (after f-distill, Wen et al. 2023)"),
        _loss("tv", "TotalVariation()", "total variation, on given prefixes (after f-distill, Wen et al. 2023)"),
        _loss("reverse-kd", "ReverseKD()", "KL the other way round, on given prefixes (after f-distill, Wen et al. 2023)"),
        Method(
            "f-js", "sampled", "0.5 * SkewKD(skew=0.5)",
            "the Jensen-Shannon divergence, half on samples of the teacher, half on the student's own (f-distill, Wen et al. 2023)",
            own=_samples("0.5 * SkewReverseKD(skew=0.5)"),
        ),
        Method(
            "f-tv", "sampled", "0.5 * TotalVariation()", "total variation, its bound on samples of both (f-distill)",
            own=_samples("0.5 * TotalVariation()"),
        ),
        Method("f-kl", "sampled", "WordKD()", "KL on samples of the teacher (f-distill)"),
        Method(
            "f-reverse-kl", "gold", "NLL()", "KL the other way round on the student's samples, never on gold (f-distill)",
            own=_samples("ReverseKD()", beside=False),
        ),
        _loss("skew-kd", "SkewKD()", "KL to a mixture of both (DistiLLM, Ko et al. 2024)"),
        _loss("adaptive-kd", "AdaptiveKD()", "forward and reverse KL by head and tail (Wu et al. 2024)"),
        _loss("top1", _KD + "Top1(weighted=True)", "the teacher's best token, as sure as it is (TIE-KD: no correlation)"),
        _loss("without-top1", _KD + "WithoutTop1()", "the teacher's others, its best token's share given to the target (the same)"),
        _loss(
            "combine", "0.1 * NLL() + 0.2 * WordKD() + 0.7 * LayerCombination()",
            "encoder layers of the teacher, several for each of the student's (CKD, Wu et al. 2020)",
        ),
        _loss(
            "patient", "0.1 * NLL() + 0.2 * WordKD() + 0.7 * LayerCombination(map='skip')",
            "encoder layers of the teacher, one for each of the student's (PKD, Sun et al. 2019)",
        ),
        _loss(
            "align", "0.5 * NLL(label_smoothing=0.1) + 0.5 * WordCE() + AttentionAlignment(final_weight=0.1)",
            "attention maps by a learned mixture (Align-to-Distill, Jin et al. 2024)",
        ),
        Method(
            "continual", "gold", PLAIN,
            "alone, then of each teacher in turn what it knows better, without forgetting (Continual KD, Zhang et al. 2023b)",
            then=(
                Phase("gold", f"{PLAIN} + SelectiveKD(by='teacher_better') + Inheritance()", rate=FINE_TUNING, in_turn=True),
            ),
        ),
        Method(
            "distil-adapt-distil", "seq-kd", PLAIN,
            "seq-kd, the teacher adapted to --adapt-train, seq-kd again on that (Gordon & Duh 2020)",
            then=(Phase("seq-kd", PLAIN, rate=FINE_TUNING, adapted=True),),
        ),
        Method(
            "noisy-student", "gold-kd", PLAIN,
            "gold and pseudo pairs, then the student labels for the next one, --rounds in all (Noisy Student, Xie et al. 2020)",
            then=(Phase("gold-kd", PLAIN, promoted=True),),
        ),
        Method(
            "well-read", "denoise", PLAIN, "pre-trained on target text, then seq-kd (after Well-Read Students, Turc et al. 2019)",
            then=(Phase("seq-kd", PLAIN),),
        ),
        Method(
            "imitkd", "gold", "NLL()",
            "the given words, and more and more the teacher's best word after what the student says (ImitKD, Lin et al. 2020)",
            own=_imitation("Top1()"),
        ),
        Method(
            "imitkd-full", "gold", "WordKD()", "the same with the teacher's distribution on both kinds of prefixes",
            own=_imitation("WordKD()"),
        ),
        Method(
            "gkd", "gold", "JensenShannon()",
            "the Jensen-Shannon divergence, half of the batches sampled by the student (GKD, Agarwal et al. 2024)",
            own=OwnTargets(share=0.5, sample=True, objective="JensenShannon()"),
        ),
        _loss(
            "knn-kd-adaptive", "KNNKD(temperature=100, adaptive=True)",
            "target and neighbours mixed token by token, the surer the more of the target (kNN-KD's released option)",
        ),
        _loss(
            "softmax-tempering", "NLL(label_smoothing=0.1, temperature=2.0)", "no teacher, a tempered softmax (Dabre & Fujita 2020)"
        ),
    )
}  # fmt: skip
ALONE = Method("alone", "gold", PLAIN, "the student without a teacher: the baseline of every report")
# What is no method of its own but goes with them: how it is asked for, and what it is.
BY_OPTION = {
    "--teacher A B": "an ensemble as one teacher; --teacher-mean geometric, --teacher-weights 2 1",
    "--teacher A B --teacher-by-nll batch": "teachers weighed by their NLL of gold (Collective Wisdom, Saleh et al. 2020)",
    "--cache-teacher 16": "the teacher's likeliest words stored once, in place of running it",
    "--own-share 0.5": "any objective on the student's own words (on-policy)",
    "--drop-worst 0.05 --reverse-teacher B": "pseudo pairs filtered by reverse cross-entropy (Bergamot)",
    "--subset 0.05": "low data: a share of the training pairs",
    "--label-beam-size 1": "greedy seq-kd",
    "--objective 'NLL() + AttentionMaps()'": "attention maps, layer by layer; other terms: docs/losses.md",
    "distilmt translate --knn-datastore D": "kNN-MT: neighbours beside the model where it translates (docs/knn.md)",
    "distilmt multilingual": "several directions, a teacher each (docs/multilingual.md)",
}
RECIPES = (
    "gold", "seq-kd", "seq-inter", "mbr", "mixed", "hybrid", "gold-kd", "gold-kd-bt", "gold-best", "n-best", "forward",
    "round-trip", "sampled", "denoise",
)  # fmt: skip


def named(name: str) -> Method:
    """The method of a name such as `seq-kd+word-kd`, or of several phases, `seq-kd/seq-inter+word-kd`.

    Raises: ConfigError: unknown name, or two parts that ask for different data or different losses.
    """
    first, *others = [_joined(part) for part in name.split("/")]
    if not others:
        return first
    summary = ", then ".join(method.summary for method in (first, *others))
    phases = []
    for method in others:
        if method.teacher_layers:
            raise ConfigError(f"--method: {name!r}: {method.name} begins with the teacher's layers - put it first")
        phases += [replace(method.phases[0], rate=FINE_TUNING), *method.then]
    return replace(first, name=name, summary=summary, then=(*first.then, *phases))


def _joined(name: str) -> Method:
    parts = []
    for part in name.split("+"):
        if part not in METHODS and part != ALONE.name:
            near = difflib.get_close_matches(part, METHODS, 1)
            hint = f" - did you mean {near[0]}?" if near else f" - known: {', '.join(METHODS)}"
            raise ConfigError(f"--method: unknown method {part!r}{hint}")
        parts.append(METHODS.get(part, ALONE))
    if len(parts) == 1:
        return parts[0]
    recipes = {m.recipe for m in parts} - {"gold"} or {"gold"}
    objectives = {m.objective for m in parts} - {PLAIN} or {PLAIN}
    if len(recipes) > 1 or len(objectives) > 1 or len(parts) != len(set(parts)) or any(m.then for m in parts):
        raise ConfigError(
            f"--method: {name!r} joins methods of one kind - join one that makes data with one that is a loss"
        )
    layers = any(m.teacher_layers for m in parts)
    own = next((m.own for m in parts if m.own), None)
    recipe = recipes.pop()
    said = [m.summary if recipe == "gold" else m.summary.removeprefix(_GOLD).lstrip("; ") for m in parts]
    return Method(name, recipe, objectives.pop(), "; ".join(said), layers, own=own)
