"""Decoding by transformers' own `generate` and forward pass, for models that the native translator does not know.

Chosen by the user, `Translator(folder, engine="transformers")`, never in silence. Any folder that AutoModelForSeq2SeqLM
loads, in float32 on the CPU. What differs from the native engine:

- `slots` is the number of sentences in a batch, which is padded: results do not depend on the company but for rounding;
  with `slots=1` not at all.
- `log_probs` and `score` are the model's own, from one forward pass over the finished hypothesis: penalties that
  generation_config.json asks for decide which hypothesis wins and leave no trace in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from distilmt.errors import ConfigError, DataError
from distilmt.translator.families import FAMILIES
from distilmt.translator.native_model import Generation, read_json

SLOTS = 16
LOGITS = 1 << 26  # of one forward pass over finished hypotheses: 256 MiB
POSITIONS = ("max_position_embeddings", "max_encoder_position_embeddings", "max_decoder_position_embeddings")

# What of the native engine's options is not available here, with the values that ask for nothing.
NATIVE_ALONE: dict[str, Any] = {
    "length_penalty_form": "power", "coverage_penalty": 0.0, "patience": 1.0, "sample": False, "soft_labels": 0,
    "hidden_states": False, "prefixes": None, "neighbours": None,
}  # fmt: skip
STOPPING = {"yes": True, "no": False, "never": "never"}

# status, (ids, score, log_probs, no soft labels, no hidden states) of each hypothesis
Output = tuple[str, list[tuple[list[int], float, list[float], None, None]]]


class TransformersModel:
    """A model in transformers' hands, with the attributes of `NativeModel`.

    Raises: DataError: transformers cannot load the folder, or tensors are missing. ConfigError: the model samples.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForSeq2SeqLM

        self.model_type = str(read_json(folder / "config.json").get("model_type"))
        try:
            self.model, info = AutoModelForSeq2SeqLM.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
                output_loading_info=True,
            )  # fmt: skip
        except Exception as error:  # OSError, ValueError, RuntimeError, SafetensorError: by what is wrong
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{folder}: transformers cannot load this as a sequence-to-sequence model ({reason}) - check the folder"
            ) from None
        if missing := sorted(info["missing_keys"]):
            raise DataError(f"{folder}: tensors are missing: {', '.join(missing[:5])} - fetch or save the model again")
        self.model.eval()
        own = self.model.generation_config
        if own.do_sample:
            raise ConfigError(f"{folder}: generation_config.json: do_sample=True - remove it: translation is a search")
        self.ends = [own.eos_token_id] if isinstance(own.eos_token_id, int) else list(own.eos_token_id or [])
        start = own.decoder_start_token_id if own.decoder_start_token_id is not None else own.bos_token_id
        if not self.ends or start is None:
            raise DataError(f"{folder}: generation_config.json: eos_token_id and decoder_start_token_id are needed")
        self.generation = Generation(
            eos=self.ends[0],
            start=start,
            forced_bos=-1 if own.forced_bos_token_id is None else own.forced_bos_token_id,
            forced_eos=-1 if own.forced_eos_token_id is None else own.forced_eos_token_id,
            min_length=max(0, (own.min_length or 0) - 1),
            repetition_penalty=1.0 if own.repetition_penalty is None else own.repetition_penalty,
            no_repeat_ngram_size=own.no_repeat_ngram_size or 0,
        )
        own.max_length = own.min_length = None  # every call gives its own
        config = self.model.config
        self.source_vocab = self.model.get_input_embeddings().num_embeddings
        self.target_vocab = self.model.get_output_embeddings().out_features
        self.positions = min((getattr(config, key) for key in POSITIONS if hasattr(config, key)), default=1 << 16)
        family = FAMILIES.get(self.model_type)
        self.prefix = [config.bos_token_id] if family and family.begin else []
        self.suffix = [self.generation.eos]

    def decode(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]] | None,
        options: dict[str, Any],
        soft_labels: int,
        hidden_states: bool,
        threads: int,
        slots: int,
        progress: Callable[[int], None] | None,
        prefixes: Any,
        neighbours: Any,
    ) -> list[Output]:
        """As `_native.decode`: one (status, hypotheses) per source, whose ids are those the encoder reads.

        Raises: ConfigError: what only the native engine has.
        """
        asked = {
            **options, "soft_labels": soft_labels, "hidden_states": hidden_states, "prefixes": prefixes,
            "neighbours": neighbours,
        }  # fmt: skip
        for name, nothing in NATIVE_ALONE.items():
            if asked[name] != nothing:
                raise ConfigError(f'{name}: not available with engine="transformers" - leave it out')
        if options["early_stopping"] not in STOPPING:
            raise ConfigError(
                f'early_stopping: {options["early_stopping"]!r} is not available with engine="transformers"'
            )
        outputs: list[Output] = [("empty_source", [])] * len(sources)
        order = []
        for index, source in enumerate(sources):
            if max(len(source), len(targets[index]) + 1 if targets else 0) > self.positions:
                outputs[index] = ("too_long", [])
            elif source:
                order.append(index)
        order.sort(key=lambda index: -len(sources[index]))
        done, before = len(sources) - len(order), torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for first in range(0, len(order), slots or SLOTS):
                batch = order[first : first + (slots or SLOTS)]
                inputs = [sources[index] for index in batch]
                if targets is None:
                    found = self._search(inputs, options)
                else:
                    found = self._score(inputs, [targets[index] for index in batch], options)
                for index, output in zip(batch, found, strict=True):
                    outputs[index] = output
                done += len(batch)
                if progress:
                    progress(done)
        finally:
            torch.set_num_threads(before)
        return outputs

    def _search(self, sources: list[Sequence[int]], options: dict[str, Any]) -> list[Output]:
        beam_size, n_best = options["beam_size"], options["n_best"]
        longest = min(options["max_length"], self.positions)
        penalty, forced_bos = options["length_penalty"], options["forced_bos"]
        beams = (
            {"length_penalty": penalty, "early_stopping": STOPPING[options["early_stopping"]]} if beam_size > 1 else {}
        )
        with torch.inference_mode():
            rows = self.model.generate(
                **self._batch(sources), num_beams=beam_size, num_return_sequences=n_best, max_new_tokens=longest,
                min_new_tokens=min(options["min_length"], longest) or None, decoder_start_token_id=options["start"],
                forced_bos_token_id=None if forced_bos < 0 else forced_bos, do_sample=False,
                repetition_penalty=options["repetition_penalty"], no_repeat_ngram_size=options["no_repeat_ngram_size"],
                **beams,
            ).tolist()  # fmt: skip
        tokens = [self._generated(row[1:]) for row in rows]
        log_probs = self._log_probs([source for source in sources for _ in range(n_best)], tokens, options["start"])
        outputs: list[Output] = []
        for first in range(0, len(rows), n_best):
            hypotheses = []
            for ids, values in zip(tokens[first : first + n_best], log_probs[first : first + n_best], strict=True):
                if forced_bos >= 0:
                    values[0] = 0.0
                if len(ids) == longest and ids[-1] == self.generation.forced_eos:
                    values[-1] = 0.0
                text = ids[:-1] if ids[-1] in self.ends else ids
                hypotheses.append((text, sum(values) / len(values) ** penalty, values, None, None))
            best, _, values, *_ = hypotheses[0]
            empty = len(best) <= (forced_bos >= 0)
            cut = len(best) == len(values) or (len(values) == longest and self.generation.forced_eos >= 0)
            status = "max_length" if cut else "empty_hypothesis" if empty else "ok"
            outputs.append(_finite(status, hypotheses))
        return outputs

    def _score(
        self, sources: list[Sequence[int]], targets: list[Sequence[int]], options: dict[str, Any]
    ) -> list[Output]:
        tokens = [[*target, self.generation.eos] for target in targets]
        found = self._log_probs(sources, tokens, options["start"])
        return [
            _finite("ok", [(list(target), sum(values) / len(values) ** options["length_penalty"], values, None, None)])
            for target, values in zip(targets, found, strict=True)
        ]

    def _generated(self, row: list[int]) -> list[int]:
        """Up to and including the end symbol; what follows it in a batch is padding."""
        return row[: next((i for i, token in enumerate(row, 1) if token in self.ends), len(row))]

    def _log_probs(self, sources: list[Sequence[int]], tokens: list[list[int]], start: int) -> list[list[float]]:
        """Log-probability of each token, end symbols included, under the full softmax."""
        rows = max(1, LOGITS // (max(map(len, tokens)) * self.target_vocab))
        found: list[list[float]] = []
        for first in range(0, len(tokens), rows):
            part = tokens[first : first + rows]
            labels = _padded(part, 0)
            read = torch.cat([torch.full((len(part), 1), start), labels[:, :-1]], dim=1)
            with torch.inference_mode():
                logits = self.model(**self._batch(sources[first : first + rows]), decoder_input_ids=read).logits
                values = logits.gather(2, labels[..., None])[..., 0] - logits.logsumexp(-1)
            found += [row[: len(ids)].tolist() for row, ids in zip(values, part, strict=True)]
        return found

    def _batch(self, sources: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        pad = self.model.generation_config.pad_token_id
        lengths = torch.tensor([len(source) for source in sources])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        return {"input_ids": _padded(sources, pad or 0), "attention_mask": mask.long()}


def _finite(status: str, hypotheses: list[Any]) -> Output:
    found = all(math.isfinite(value) for _, _, log_probs, *_ in hypotheses for value in log_probs)
    return (status, hypotheses) if found else ("not_finite", [])


def _padded(rows: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
