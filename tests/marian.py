"""Small random MarianMT models, and Hugging Face `generate` as the truth the translator is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import MarianConfig, MarianMTModel

from distilmt.translate import Translator

TIE = 1e-5  # nats, and score: two candidates closer than this may come in either order


def random_model(
    *, seed: int, std: float, end_bias: float, vocab: int = 67, target_vocab: int | None = None, **config: Any
) -> MarianMTModel:
    """A model with large random weights, norms and biases. Few combinations of seed, std and end_bias (of the end
    symbol's logit) give neither endless repetition nor empty output: those that the tests name do."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": vocab, "decoder_vocab_size": target_vocab or vocab, "d_model": 32,
        "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 40, "activation_function": "relu",
        "scale_embedding": True, "init_std": std, "eos_token_id": 0, "forced_eos_token_id": None,
        "pad_token_id": (target_vocab or vocab) - 1, "decoder_start_token_id": (target_vocab or vocab) - 1,
        "share_encoder_decoder_embeddings": target_vocab is None,
    }  # fmt: skip
    if target_vocab is not None and target_vocab > vocab:
        settings["pad_token_id"] = settings["decoder_start_token_id"] = vocab - 1
    model = MarianMTModel(MarianConfig(**{**settings, **config})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
            elif "layer_norm.weight" in name:
                parameter.uniform_(0.5, 1.5)
        model.final_logits_bias.normal_(std=0.5)
        model.final_logits_bias[0, 0] = end_bias
    model.generation_config.bad_words_ids = [[model.config.pad_token_id]]
    model.generation_config.max_length = None
    return model


def random_sources(count: int, *, vocab: int = 67, longest: int = 20, seed: int = 1) -> list[list[int]]:
    """Id lists of 1 to `longest` tokens, without end symbols."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(1, vocab - 1, (n,), generator=generator).tolist() for n in lengths]


class Margins:
    """Records, while `generate` runs, how close any decision of its beam search was to going the other way."""

    def __init__(self, model: MarianMTModel) -> None:
        self.model, self.smallest = model, math.inf

    def note(self, values: torch.Tensor) -> None:
        real = values.flatten().double()
        real = real[real > -1e8].sort(descending=True).values
        if len(real) > 1:
            self.smallest = min(self.smallest, float((real[:-1] - real[1:]).min()))

    def __enter__(self) -> Margins:
        kind = type(self.model)

        def top(accumulated_log_probs: torch.Tensor, beams_to_keep: int, **rest: Any) -> Any:
            self.note(torch.topk(accumulated_log_probs, min(beams_to_keep + 1, accumulated_log_probs.shape[1])).values)
            return kind._get_top_k_continuations(
                self.model, accumulated_log_probs=accumulated_log_probs, beams_to_keep=beams_to_keep, **rest
            )

        def finish(beam_scores: torch.Tensor, topk_log_probs: torch.Tensor, **rest: Any) -> Any:
            length = (rest["cur_len"] + 1 - rest["decoder_prompt_len"]) ** rest["length_penalty"]
            ending = topk_log_probs[rest["next_token_hits_stopping_criteria"]] / length
            self.note(torch.cat([beam_scores.flatten(), ending]))
            return kind._update_finished_beams(
                self.model, beam_scores=beam_scores, topk_log_probs=topk_log_probs, **rest
            )

        def stop(**kw: Any) -> Any:
            hopeful = kw["early_stopping"] == "never" and kw["length_penalty"] > 0
            length = (kw["max_length"] if hopeful else kw["cur_len"]) - kw["decoder_prompt_len"]
            self.note(
                torch.cat(
                    [kw["running_beam_scores"][0, :1] / length ** kw["length_penalty"], kw["beam_scores"].min()[None]]
                )
            )
            return kind._check_early_stop_heuristic(**kw)

        self.model._get_top_k_continuations = top
        self.model._update_finished_beams = finish
        self.model._check_early_stop_heuristic = stop
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("_get_top_k_continuations", "_update_finished_beams", "_check_early_stop_heuristic"):
            delattr(self.model, name)


def encoder_input(model: Any, source: list[int]) -> torch.Tensor:
    """Ids [1, tokens] as the encoder reads them; BART's begin with a symbol of their own."""
    config = model.config
    begin = [config.bos_token_id] if config.model_type == "bart" else []
    return torch.tensor([[*begin, *source, config.eos_token_id]])


def generate(
    model: MarianMTModel,
    source: list[int],
    *,
    beam_size: int,
    n_best: int = 1,
    max_length: int,
    min_length: int = 0,
    prefix: list[int] | None = None,
    **settings: Any,
) -> list[tuple[list[int], float]]:
    """(ids, score) of each hypothesis of `generate` at batch size 1; ids without start and end. Greedy: no score."""
    eos, pad = model.config.eos_token_id, model.config.pad_token_id
    out = generated(
        model, source, prefix, num_beams=beam_size, num_return_sequences=n_best, max_new_tokens=max_length,
        min_new_tokens=min_length or None, **settings,
    )  # fmt: skip
    scores = out.sequences_scores.tolist() if beam_size > 1 else [math.nan]
    found = []
    for row, score in zip(out.sequences.tolist(), scores, strict=True):
        ids = row[1:]
        ids = ids[: ids.index(eos)] if eos in ids else ids
        while ids and ids[-1] == pad:
            ids.pop()
        found.append((ids, score))
    return found


def generated(model: MarianMTModel, source: list[int], prefix: list[int] | None, **settings: Any) -> Any:
    """What `generate` returns for one source, whose translation begins with the prefix."""
    if settings["num_beams"] == 1:
        settings = {k: v for k, v in settings.items() if k not in ("length_penalty", "early_stopping")}
    if prefix is not None:
        settings["decoder_input_ids"] = torch.tensor([[model.config.decoder_start_token_id, *prefix]])
    with torch.no_grad():
        return model.generate(
            encoder_input(model, source), return_dict_in_generate=True, output_scores=True,
            do_sample=False, **settings,
        )  # fmt: skip


@dataclass
class Parity:
    """How many sentences were identical in all hypotheses, the margins of those that were not, and by how much the
    scores of identical ones differed (relative, where they exceed 1)."""

    sentences: int = 0
    identical: int = 0
    margins: list[float] = field(default_factory=list)
    worst_score: float = 0.0


def compare(
    translator: Translator,
    model: MarianMTModel,
    sources: list[list[int]],
    prefixes: list[list[int]] | None = None,
    **settings: Any,
) -> Parity:
    """Translates and generates with the same settings. Every disagreement must have a tie on its way, else it fails."""
    parity = Parity(len(sources))
    found = translator.translate_ids(sources, prefixes=prefixes, **settings)
    for index, (source, ours) in enumerate(zip(sources, found, strict=True)):
        prefix = None if prefixes is None else prefixes[index]
        truth = generate(model, source, prefix=prefix, **settings)
        got = [(h.ids, h.score) for h in ours.hypotheses]
        if [ids for ids, _ in got] == [ids for ids, _ in truth]:
            parity.identical += 1
            if settings["beam_size"] > 1:
                parity.worst_score = max(
                    parity.worst_score, *(abs(a[1] - b[1]) / max(1, abs(b[1])) for a, b in zip(got, truth, strict=True))
                )
            continue
        margin = (
            greedy_margin(model, source, prefix, **settings)
            if settings["beam_size"] == 1
            else beam_margin(model, source, prefix=prefix, **settings)
        )
        parity.margins.append(margin)
        assert margin <= TIE, (
            f"sentence {index} {settings}: no tie (closest decision {margin:.2e}) explains\n{got}\n{truth}"
        )
    return parity


def beam_margin(model: MarianMTModel, source: list[int], **settings: Any) -> float:
    """The closest decision of `generate`'s beam search."""
    with Margins(model) as margins:
        generate(model, source, **settings)
    return margins.smallest


def greedy_margin(
    model: MarianMTModel,
    source: list[int],
    prefix: list[int] | None,
    *,
    beam_size: int,
    max_length: int,
    min_length: int = 0,
    **settings: Any,
) -> float:
    """The smallest gap between the best and the second best token along the greedy path of `generate`."""
    out = generated(
        model, source, prefix, num_beams=beam_size, max_new_tokens=max_length, min_new_tokens=min_length or None,
        **settings,
    )  # fmt: skip
    best = torch.cat(out.scores).topk(2, dim=-1).values
    return float((best[:, 0] - best[:, 1]).min())


def forced_logits(model: MarianMTModel, source: list[int], target: list[int]) -> torch.Tensor:
    """Logits [len(target) + 1, vocab] of a forced target."""
    config = model.config
    with torch.no_grad():
        out = model(
            input_ids=encoder_input(model, source),
            decoder_input_ids=torch.tensor([[config.decoder_start_token_id, *target]]),
        )
    logits: torch.Tensor = out.logits[0]
    return logits


def save(model: MarianMTModel, folder: Path) -> Path:
    """Writes the model folder."""
    model.save_pretrained(folder)
    return folder
