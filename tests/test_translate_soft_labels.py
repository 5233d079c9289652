"""Soft labels and hidden states of hypotheses and of given targets, against Hugging Face's forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distilmt.errors import ConfigError
from distilmt.objectives import Head, WordKD
from distilmt.objectives.teachers import TopK
from distilmt.soft_labels import SoftLabels
from distilmt.translate import Translator
from marian import forced_logits, random_model, random_sources

MODELS: dict[str, dict[str, Any]] = {
    "untied": {"seed": 1, "std": 0.3, "end_bias": 4.0, "d_model": 20, "tie_word_embeddings": False},
    "two-vocabularies": {
        "seed": 2, "std": 0.3, "end_bias": 2.0, "vocab": 91, "target_vocab": 59, "d_model": 16,
        "decoder_attention_heads": 2,
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Translator]:
    model = random_model(**MODELS[request.param])
    model.generation_config.suppress_tokens = [2, 9]  # banned, yet they keep their probability
    return model, Translator.of(model, compute_type="float32", threads=2)


def check(soft: SoftLabels | None, logits: torch.Tensor, k: int) -> None:
    """Against log_softmax in double."""
    assert soft is not None and len(soft) == len(logits)
    truth = logits.double().log_softmax(-1)
    assert soft.ids.shape == soft.log_probs.shape == (len(logits), k)
    assert (soft.ids.dtype, soft.log_probs.dtype, soft.tail_mass.dtype) == (np.int32, np.float32, np.float32)
    ids = torch.from_numpy(soft.ids).long()
    got = torch.from_numpy(soft.log_probs).double()
    torch.testing.assert_close(got, truth.gather(1, ids), atol=5e-5, rtol=0)
    torch.testing.assert_close(got, truth.topk(k).values, atol=5e-5, rtol=0)
    assert (soft.log_probs[:, :-1] >= soft.log_probs[:, 1:]).all()
    assert all(len(set(row)) == k for row in soft.ids.tolist())
    tail = truth.exp().scatter(1, ids, 0).sum(1)
    torch.testing.assert_close(torch.from_numpy(soft.tail_mass).double(), tail, atol=1e-30, rtol=5e-4)
    np.testing.assert_allclose(np.exp(soft.log_probs).sum(1) + soft.tail_mass, 1, atol=3e-6)
    entropy = -(truth.exp() * truth).sum(1)
    torch.testing.assert_close(torch.from_numpy(soft.entropy).double(), entropy, atol=1e-9, rtol=5e-4)


@pytest.mark.parametrize("beam_size", [1, 4])
@pytest.mark.parametrize("k", [1, 5, 59])
def test_soft_labels_of_hypotheses_are_those_of_a_forward_pass(
    pair: tuple[Any, Translator], beam_size: int, k: int
) -> None:
    model, translator = pair
    sources = random_sources(6)
    settings: dict[str, Any] = {"beam_size": beam_size, "n_best": beam_size, "max_length": 12}
    plain = translator.translate_ids(sources, **settings)
    found = translator.translate_ids(sources, **settings, soft_labels=k)
    for source, translation, without in zip(sources, found, plain, strict=True):
        for hypothesis, same in zip(translation.hypotheses, without.hypotheses, strict=True):
            assert (hypothesis.ids, hypothesis.log_probs, hypothesis.score) == (same.ids, same.log_probs, same.score)
            assert same.soft_labels is None
            check(hypothesis.soft_labels, forced_logits(model, source, hypothesis.ids)[: len(same.log_probs)], k)


def test_soft_labels_and_hidden_states_of_given_targets(pair: tuple[Any, Translator]) -> None:
    model, translator = pair
    sources, targets = random_sources(9), random_sources(9, vocab=59, seed=2)
    plain = translator.score_ids(sources, targets)
    for index, scored in enumerate(translator.score_ids(sources, targets, soft_labels=3, hidden_states=True)):
        logits = forced_logits(model, sources[index], targets[index])
        check(scored.soft_labels, logits, 3)
        assert scored.log_probs == plain[index].log_probs and plain[index].soft_labels is None
        assert scored.hidden_states is not None and scored.hidden_states.shape == (len(logits), model.config.d_model)
        with torch.no_grad():
            again = model.lm_head(torch.from_numpy(scored.hidden_states)) + model.final_logits_bias
        torch.testing.assert_close(again, logits, atol=1e-4, rtol=1e-4)


def test_a_hypothesis_and_its_forced_decoding_say_the_same(pair: tuple[Any, Translator]) -> None:
    _, translator = pair
    sources = random_sources(10)
    found = [t.hypotheses[0] for t in translator.translate_ids(sources, beam_size=4, max_length=30, soft_labels=4)]
    ended = [i for i, h in enumerate(found) if len(h.log_probs) > len(h.ids)]
    assert len(ended) > 2
    scored = translator.score_ids([sources[i] for i in ended], [found[i].ids for i in ended], soft_labels=4)
    for one, other in zip((s.soft_labels for s in scored), (found[i].soft_labels for i in ended), strict=True):
        assert one is not None and other is not None
        assert np.array_equal(one.ids, other.ids) and np.array_equal(one.log_probs, other.log_probs)
        # These are sums, whose order depends on what a search sets aside.
        np.testing.assert_allclose(one.tail_mass, other.tail_mass, rtol=1e-6)
        np.testing.assert_allclose(one.entropy, other.entropy, rtol=1e-6)


def test_soft_labels_hold_under_penalties_and_bans_of_the_search(pair: tuple[Any, Translator]) -> None:
    model, _ = pair
    model.generation_config.forced_bos_token_id = 7
    translator = Translator.of(model, compute_type="float32", threads=1)
    model.generation_config.forced_bos_token_id = None
    for source in random_sources(3):
        (t,) = translator.translate_ids([source], beam_size=3, min_length=6, max_length=9, soft_labels=6)
        assert t.hypotheses[0].ids[0] == 7 and t.hypotheses[0].log_probs[0] == 0.0
        check(
            t.hypotheses[0].soft_labels,
            forced_logits(model, source, t.hypotheses[0].ids)[: len(t.hypotheses[0].log_probs)],
            6,
        )


def test_soft_labels_of_prefixes_samples_and_penalised_searches(pair: tuple[Any, Translator]) -> None:
    """They follow each hypothesis, and stay the model's own."""
    model, translator = pair
    sources, prefixes = random_sources(4), [[7, 8], [], [10], [11, 12, 13]]
    settings: list[dict[str, Any]] = [
        {"beam_size": 3, "n_best": 3, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
        {"sample": True, "n_best": 3, "top_k": 3},
        {"sample": True, "n_best": 3, "temperature": 2.0, "top_p": 0.9},
    ]
    for options in settings:
        found = translator.translate_ids(sources, prefixes=prefixes, max_length=6, soft_labels=5, **options)
        assert [t.hypotheses[0].ids for t in found] == [
            t.hypotheses[0].ids for t in translator.translate_ids(sources, prefixes=prefixes, max_length=6, **options)
        ]
        for source, translation in zip(sources, found, strict=True):
            for h in translation.hypotheses:
                check(h.soft_labels, forced_logits(model, source, h.ids)[: len(h.log_probs)], 5)


def test_ids_without_probability_fill_up() -> None:
    """renormalize_logits takes banned ids out of the distribution: asked for all ids, they come last, with -inf."""
    model = random_model(**MODELS["untied"])
    model.generation_config.renormalize_logits = True
    model.generation_config.suppress_tokens = [2, 9]
    soft = (
        Translator.of(model, compute_type="float32", threads=1)
        .score_ids([[5, 6]], [[7]], soft_labels=67)[0]
        .soft_labels
    )
    assert soft is not None and (np.sort(soft.ids, 1) == np.arange(67)).all()
    assert (soft.ids[:, -3:] == [2, 9, 66]).all() and np.isneginf(soft.log_probs[:, -3:]).all()
    assert (soft.tail_mass == 0).all()


@pytest.mark.parametrize("compute_type", ["float32", "bfloat16", "int8"])
def test_they_do_not_depend_on_company(pair: tuple[Any, Translator], compute_type: Any) -> None:
    model, _ = pair
    translator = Translator.of(model, compute_type=compute_type, threads=2)
    sources, targets = random_sources(30), random_sources(30, vocab=59, seed=2)
    settings: dict[str, Any] = {"beam_size": 3, "n_best": 3, "max_length": 11, "soft_labels": 4}
    alone = [translator.translate_ids([source], **settings)[0] for source in sources]
    forced = [
        translator.score_ids([source], [target], soft_labels=4, hidden_states=True)[0]
        for source, target in zip(sources, targets, strict=True)
    ]
    for options in ({"threads": 1}, {"threads": 3, "slots": 2}, {"threads": 1, "slots": 7}):
        other = Translator.of(model, compute_type=compute_type, **options)
        order = np.random.default_rng(1).permutation(30).tolist()
        assert other.translate_ids([sources[i] for i in order], **settings) == [alone[i] for i in order]
        scored = other.score_ids(
            [sources[i] for i in order], [targets[i] for i in order], soft_labels=4, hidden_states=True
        )
        assert scored == [forced[i] for i in order]
        assert all(np.array_equal(s.hidden_states, forced[i].hidden_states) for s, i in zip(scored, order, strict=True))


def test_they_feed_an_objective_and_all_ids_are_the_dense_teacher(pair: tuple[Any, Translator]) -> None:
    model, translator = pair
    vocab = translator._model.target_vocab
    scored = translator.score_ids([[5, 6, 7]], [[8, 9, 10, 11]], soft_labels=vocab)[0]
    assert scored.soft_labels is not None
    sparse = TopK(torch.from_numpy(scored.soft_labels.ids).long(), torch.from_numpy(scored.soft_labels.log_probs))
    student = Head(torch.randn(5, vocab), None)
    gold = torch.tensor([8, 9, 10, 11, 0])
    losses = [
        WordKD().evaluate(student=student, targets=gold, teacher=teacher).loss
        for teacher in (sparse, Head(forced_logits(model, [5, 6, 7], [8, 9, 10, 11]), None))
    ]
    torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=1e-4)


def test_sentences_without_tokens_have_none(pair: tuple[Any, Translator]) -> None:
    _, translator = pair
    (empty,) = translator.translate_ids([[]], soft_labels=3)
    assert empty.hypotheses[0].soft_labels == SoftLabels.none(3)
    (scored,) = translator.score_ids([[]], [[5]], soft_labels=3)
    assert scored.soft_labels == SoftLabels.none(3) and scored.soft_labels != SoftLabels.none(2)


def test_split_lines_join_their_soft_labels(tiny_model_folder: Path) -> None:
    translator = Translator(tiny_model_folder, compute_type="float32", threads=1)
    text = "Maria hofft, dass der Hund im Garten schläft. " * 40
    (out,) = translator.translate([text], beam_size=2, max_length=8, too_long="split", soft_labels=2)
    soft = out.hypotheses[0].soft_labels
    assert soft is not None and len(soft) == len(out.hypotheses[0].log_probs) > 8


@pytest.mark.parametrize("k", [-1, 68, 1.0, True])
def test_wrong_numbers_of_soft_labels(k: Any) -> None:
    translator = Translator.of(random_model(**MODELS["untied"]), compute_type="float32", threads=1)
    with pytest.raises(ConfigError, match="soft_labels: expected a whole number from 0 to"):
        translator.translate_ids([[5]], soft_labels=k)
