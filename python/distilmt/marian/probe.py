"""The same sentences through transformers, CTranslate2 and our translator: greedy search must choose the same tokens.

Engines add in different orders, so where two of them differ, the first difference decides. It is excused as a tie only if
transformers gives both tokens the same log-probability within `TIE`, or within what float32 loses there against float64:
in a badly conditioned model, float32 does not say which token is better.
"""

from __future__ import annotations

import copy
import random
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import GenerationConfig, MarianMTModel
from transformers.utils import logging as transformers_logging

from distilmt.errors import DataError
from distilmt.marian.model_folder import read_config, read_json
from distilmt.vocab import Vocab

MAX_NEW_TOKENS = 64
TIE = 1e-4  # nats
NOISE = 8  # times the loss of transformers' float32: other engines take shorter polynomials for exp and gelu


class NotCheckedError(Exception):
    """Why something cannot be looked at; no fault of the model."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars, no advice to install a normaliser: texts are not tokenized by transformers here."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


class Probe:
    """Source ids, and what transformers makes of them by greedy search; made when the first engine is compared."""

    def __init__(self, folder: Path, model: MarianMTModel | None, lines: Iterable[str] | None, sentences: int) -> None:
        self.folder, self.model, self.lines, self.sentences = folder, model, lines, sentences
        self.sources: list[list[int]] = []
        self.expected: list[list[int]] = []

    def compare(self, name: str, decode: Callable[[Path, list[list[int]], int], list[list[int]]]) -> str:
        """Raises: DataError showing the first sentence on which an engine and transformers differ, ties apart."""
        if self.model is None:
            raise NotCheckedError("transformers does not load the model")
        longest = min(MAX_NEW_TOKENS, self.model.config.max_position_embeddings - 1)
        if not self.expected:
            self.sources = _probe_ids(self.folder, self.lines, self.sentences, longest)
            self.expected = _greedy(self.model, self.sources, longest)
        found = decode(self.folder, self.sources, longest)
        ties, tokens = 0, 0
        end = self.model.config.eos_token_id
        for number, (source, want, got) in enumerate(zip(self.sources, self.expected, found, strict=True), 1):
            # With the end symbol as a token; a forced one at the very end is no difference.
            a, b = ([*ids, end][: longest - 1] for ids in (want, got))
            tokens += len(a)
            if a != b:
                at = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
                gap, noise = _gap(self.model, source, a, b, at)
                if gap > max(TIE, NOISE * noise):
                    raise DataError(
                        f"sentence {number} of {len(found)}, token {at + 1}: transformers chose id {a[at]}, "
                        f"{name} {b[at]}, whose log-probability is {gap:.2g} lower (float32 loses {noise:.1g})"
                    )
                ties += 1
        detail = f"greedy output of {len(found)} sentences ({tokens} tokens) identical to transformers"
        return detail + (f", except {ties} at a tie" if ties else "")


def _probe_ids(folder: Path, lines: Iterable[str] | None, sentences: int, longest: int) -> list[list[int]]:
    vocab = Vocab.load(folder)
    if lines is not None:
        texts = list(lines)
    else:
        chance = random.Random(1)
        texts = vocab.decode(
            [chance.choices(range(2, vocab.size - 1), k=chance.randint(1, 20)) for _ in range(sentences)]
        )
    sources = [ids[:longest] for ids in vocab.encode_source(texts) if ids]
    if not sources:
        raise NotCheckedError("the probe lines hold no words")
    return sources


@torch.no_grad()
def _greedy(model: MarianMTModel, sources: list[list[int]], longest: int) -> list[list[int]]:
    """Greedy search of transformers with no options but the banned pad; ids without the end symbol."""
    config = model.config
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.pad_token_id, pad_token_id=config.pad_token_id, eos_token_id=config.eos_token_id,
        bad_words_ids=[[config.pad_token_id]], num_beams=1, do_sample=False, max_new_tokens=longest,
    )  # fmt: skip
    outputs = []
    for begin in range(0, len(sources), 50):
        part = [[*ids, config.eos_token_id] for ids in sources[begin : begin + 50]]
        width = max(map(len, part))
        ids = torch.tensor([row + [config.pad_token_id] * (width - len(row)) for row in part])
        for row in model.generate(ids, attention_mask=(ids != config.pad_token_id).long())[:, 1:].tolist():
            outputs.append(row[: row.index(config.eos_token_id)] if config.eos_token_id in row else row)
    return outputs


@torch.no_grad()
def _gap(model: MarianMTModel, source: list[int], want: list[int], got: list[int], at: int) -> tuple[float, float]:
    """At the first difference: log-probability that transformers gives its own choice over the other engine's, in nats,
    and the largest error of its float32 logits."""
    config = model.config
    prefix = torch.tensor([[config.decoder_start_token_id, *want[:at]]])
    inputs = {"input_ids": torch.tensor([[*source, config.eos_token_id]]), "decoder_input_ids": prefix}
    logits = model(**inputs).logits[0, -1].double()
    noise = (logits - copy.deepcopy(model).double()(**inputs).logits[0, -1]).abs().max()
    return float(logits[want[at]] - logits[got[at]]), float(noise)


def ctranslate2_greedy(folder: Path, sources: list[list[int]], longest: int) -> list[list[int]]:
    try:
        import ctranslate2
    except ImportError:
        raise NotCheckedError("ctranslate2 is not installed - pip install 'distilmt[ctranslate2]'") from None
    ids = read_json(folder / "vocab.json", 64 << 20)
    tokens = {number: token for token, number in ids.items()}
    with tempfile.TemporaryDirectory() as temporary, quiet_transformers():
        converted = str(Path(temporary) / "model")
        try:
            ctranslate2.converters.TransformersConverter(str(folder)).convert(converted)
            translator = ctranslate2.Translator(converted, compute_type="float32", intra_threads=1)
            end = tokens[read_config(folder).eos_token_id]
            results = translator.translate_batch(
                [[*(tokens[i] for i in row), end] for row in sources],
                beam_size=1, max_decoding_length=longest, min_decoding_length=0, max_input_length=0,
            )  # fmt: skip
        except Exception as error:  # whatever CTranslate2 raises is the answer to the question
            raise DataError(f"CTranslate2: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from None
    return [[ids[token] for token in result.hypotheses[0]] for result in results]


def native_greedy(folder: Path, sources: list[list[int]], longest: int) -> list[list[int]]:
    from distilmt.translate import Translator

    results = Translator(folder, compute_type="float32", threads=1).translate_ids(
        sources, beam_size=1, max_length=longest
    )
    return [list(result.hypotheses[0].ids) for result in results]
