"""The native translator: beam search and sampling over a model folder, on the CPU or a CUDA device.

Semantics are those of Hugging Face `generate` (transformers 5.23) at batch size 1: beam search, or greedy search with
`beam_size=1`; `distilmt.translator.search` says each option. A candidate's score is its summed log-probability, accumulated in
float32; a finished hypothesis is worth `sum / length ** length_penalty`, its length counting the end symbol. Ties go to
the lower beam, then to the lower id (torch leaves them open). The result for a sentence does not depend on the others,
on their order, on `threads` or on `slots`, to the last bit; instruction sets may differ from each other in the last
bits.

    translator = Translator("run/student")
    for translation in translator.translate(["Ein Hund bellt."], beam_size=4):
        print(translation.text, translation.status)

Statuses: `ok`; `max_length`: the best hypothesis reached max_length without an end symbol; `empty_hypothesis`: the best
hypothesis is the end symbol alone, or bans leave none; `repetition`: the best hypothesis ends in a phrase of at most 8
tokens that stands there at least 8 times in a row, with or without an end symbol behind it; `redone_float32`: as `ok`,
but compute_type gave no finite numbers for this sentence and float32 did. With one empty hypothesis: `not_finite`: no
finite numbers in float32 either, so the weights are damaged; and without the model having been asked `empty_source`:
nothing but white space; `too_long`: more tokens than the model has positions (nothing is cut off). With
`too_long="split"` or `"truncate"` such a text is translated in pieces, or its beginning is: `split`, `truncated`, or
what is worse and holds of any piece.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distilmt import _native
from distilmt.energy.machine import usable_cpus
from distilmt.errors import ConfigError, DataError, MemoryExhausted
from distilmt.translator import attention as attentions
from distilmt.translator import compute_type as compute_types
from distilmt.translator import device as devices
from distilmt.translator import native_model
from distilmt.translator.attention import Attention
from distilmt.translator.compute_type import ComputeType
from distilmt.translator.ensemble import MEANS, agreed, shares
from distilmt.translator.inputs import blank, checked_ids, checked_texts
from distilmt.translator.results import Hypothesis, Scored, Stats, Status, Translation, soft_labels_of, translation
from distilmt.translator.search import resolve, whole

if TYPE_CHECKING:
    from transformers import MarianMTModel
    from typing_extensions import Unpack

    from distilmt.translator.native_model import NativeModel
    from distilmt.translator.neighbours import Neighbours
    from distilmt.translator.search import SearchOptions
    from distilmt.translator.transformers_engine import TransformersModel
    from distilmt.vocab import TooLong, Vocab
    from distilmt.vocabulary.tokenizer import TokenizerVocab

__all__ = ["Hypothesis", "Scored", "Stats", "Status", "Translation", "Translator"]

MAX_SOFT_LABELS = 1024


class Translator:
    """A model folder, ready to translate; or several of one vocabulary, which translate as one.

    An ensemble averages the models' distributions at every step; a score is that of the mean. It costs what its models
    cost together, and the projection of small batches more than that: whole rows of all models are needed, which are
    made 32 at a time (csrc/engine/ensemble.h).

    Args:
        folder: holds config.json and model.safetensors, and for text the vocabulary or tokenizer. A list of folders is
            an ensemble.
        engine: "native" knows Marian, BART, mBART and mBART-50, M2M100 and NLLB; "transformers" decodes any
            sequence-to-sequence model by transformers' `generate`, slower (what differs: translator/transformers_engine).
        device: "cpu"; "cuda" or "cuda:N", where the sentences of a call are decoded together (docs/translator.md says what
            is not there yet).
        compute_type: numbers the matrix products work on: "float32"; "bfloat16", nearly lossless; "int8": weights by
            output channel, activations by row, sums exact; "float16", on a CUDA device; or "auto": int8 where the processor
            multiplies it natively, else float32, float16 on a CUDA device (`translator.compute_type.chosen`). The attribute of
            this name says what was chosen.
        attention: who computes the encoder's on a CUDA device: "cudnn", for float16, bfloat16 and int8 and heads of a multiple
            of 8 columns; "own", this package's kernel; or "auto": cuDNN where it is found and takes the model. The attribute
            of this name says what was chosen; None on the processor. What is redone in float32 has the own kernel's.
        threads: workers, each decoding sentences of its own; default: the CPUs this process may use. On a device they read
            the weights alone.
        ensemble: how several models are averaged: "arithmetic", their probabilities; "geometric", their
            log-probabilities, renormalised.
        weights: how much each model counts, positive, in any unit; default: equally.
        slots: sentences in flight per worker, or on the device; default: by beam size and memory. Speed and memory, never
            results.
        source_language, target_language: as the model's tokenizer names them ("deu_Latn"). Families with language tags
            (mBART, M2M100, NLLB) need both for texts; without them ids have to bring their tag along. A multilingual
            Marian model takes a target_language.
    Raises: ConfigError, DataError: arguments, or the folder, cannot be used; the message says which and why. ResourceError:
        there is no such device here; the message says what was looked for.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        engine: Literal["native", "transformers"] = "native",
        device: str = "cpu",
        compute_type: ComputeType = "auto",
        attention: Attention = "auto",
        threads: int | None = None,
        slots: int | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
        ensemble: str = "arithmetic",
        weights: Sequence[float] | None = None,
    ) -> None:
        try:
            folders = [Path(f) for f in ([folder] if isinstance(folder, (str, os.PathLike)) else folder)]
        except TypeError:
            raise ConfigError(f"folder: expected a model folder or a list of them, got {folder!r}") from None
        if not folders:
            raise ConfigError("folder: expected a model folder or a list of them, got an empty list")
        if ensemble not in MEANS:
            raise ConfigError(f"ensemble: expected {' or '.join(MEANS)}, got {ensemble!r}")
        number = devices.ordinal(device)
        if engine not in ("native", "transformers"):
            raise ConfigError(f"engine: expected native or transformers, got {engine!r}")
        if number is not None and engine == "transformers":
            raise ConfigError(f'device: expected cpu for engine="transformers", got {device!r} - it has no other yet')
        if engine == "transformers":
            if len(folders) > 1:
                raise ConfigError(f'folder: expected one with engine="transformers", got {len(folders)}')
            if compute_type not in ("auto", "float32"):
                raise ConfigError(f'compute_type: expected float32 with engine="transformers", got {compute_type!r}')
        self.engine, self.device = engine, device
        self.attention: str | None = None
        wanted: ComputeType = "float32" if engine == "transformers" else compute_type
        self.compute_type = compute_types.chosen(wanted, devices.kind(device))
        attentions.chosen(attention, devices.kind(device), self.compute_type)
        if number is not None:
            devices.opened(number)  # before anything is read: whether it is there
        self.folder, self.folders = folders[0], folders
        self._shares, self._geometric = shares(weights, len(folders)), ensemble == "geometric"
        self.threads = usable_cpus() if threads is None else whole("threads", threads, 1, 1024)
        self.slots = 0 if slots is None else whole("slots", slots, 1, 4096)
        self.stats = Stats(0, 0, 0.0)
        self._vocab: Vocab | TokenizerVocab | None = None
        self._models: list[Any]
        self._model: NativeModel | TransformersModel  # what the models share
        self._float32_models: list[NativeModel] = []
        if engine == "native":
            self._models = [self._loaded(each, self.compute_type, attention) for each in folders]
            self._model = agreed(folders, self._models)
            self.attention = " and ".join(sorted({each.attention for each in self._models if each.attention})) or None
        else:
            from distilmt.translator.transformers_engine import TransformersModel

            self._model = TransformersModel(self.folder)
            self._models = [self._model]
        self._languages = (source_language, target_language)
        if any(self._languages):
            _ = self.vocab  # which puts the tags in place, for ids too

    @classmethod
    def of(cls, model: MarianMTModel, vocab: Vocab | None = None, **options: Any) -> Translator:
        """A translator of a model in memory, through a temporary folder; later changes of the model do not reach it.

        Args:
            model: any MarianMTModel; its generation_config holds.
            vocab: needed to translate text, and for a target_language; id lists need none.
            options: as of Translator.
        """
        from distilmt.marian.probe import quiet_transformers

        with tempfile.TemporaryDirectory(prefix="distilmt-") as folder:
            with quiet_transformers():
                model.save_pretrained(folder)
            if vocab is not None:
                vocab.save(folder)
            translator = cls(folder, **options)
            if vocab is not None:
                _ = translator.vocab  # while the folder exists
            if translator.compute_type != "float32":
                translator._in_float32()
        return translator

    @property
    def vocab(self) -> Vocab | TokenizerVocab:
        """The folder's vocabulary, loaded when first asked for. Raises: DataError: it is not the model's."""
        if self._vocab is None:
            if self._model.model_type == "marian":
                from distilmt.vocab import Vocab

                vocab = self._matching(Vocab.load(self.folder))
                self._model.prefix = vocab.source_prefix(*self._languages)
                self._vocab = vocab
            else:
                self._vocab = self._tokenizer()
        return self._vocab

    def _tokenizer(self) -> TokenizerVocab:
        """The tokenizer of another family, which says what stands around its texts."""
        from distilmt.vocabulary.tokenizer import TokenizerVocab

        model = self._model
        vocab = TokenizerVocab.load(self.folder, (model.source_vocab, model.target_vocab), *self._languages)
        model.prefix, model.suffix = vocab.prefix, vocab.suffix
        own = model.generation
        start, forced_bos = vocab.start, vocab.forced_bos
        model.generation = replace(
            own,
            start=own.start if start is None else start,
            forced_bos=own.forced_bos if forced_bos is None else forced_bos,
        )
        return vocab

    @property
    def _room(self) -> int:
        """Positions for the ids of a source."""
        return self._model.positions - len(self._model.prefix) - len(self._model.suffix)

    def _matching(self, vocab: Vocab) -> Vocab:
        found, expected = (vocab.size, vocab.target_size), (self._model.source_vocab, self._model.target_vocab)
        if found != expected:
            raise DataError(
                f"{self.folder}: the model has {expected[0]} source and {expected[1]} target ids, its vocabulary "
                f"{found[0]} and {found[1]} - copy model and vocabulary together"
            )
        return vocab

    def translate(
        self,
        texts: Sequence[str],
        *,
        prefixes: Sequence[str] | None = None,
        soft_labels: int = 0,
        too_long: TooLong = "skip",
        neighbours: Neighbours | None = None,
        progress: Callable[[int], None] | None = None,
        **search: Unpack[SearchOptions],
    ) -> list[Translation]:
        """Translates texts, one translation per text, in order. Equal texts (and prefixes) are translated once.

        Args:
            texts: one sentence each.
            prefixes: how each translation must begin, "" for anyhow: decoder_input_ids of Hugging Face `generate`,
                target_prefix of CTranslate2. A prefix stands in ids and text, with log-probability 0; score, length,
                max_length and min_length count what was generated behind it; n-grams and repetitions look into it.
            soft_labels: most likely ids to report per token of each hypothesis, with their log-probabilities, the mass
                of the others and the entropy; 0 for none.
            too_long: what to do with a text of more tokens than the model has positions: skip, truncate, or split, which
                translates it in pieces and joins their best hypotheses.
            neighbours: hidden states [rows, d] float32 -> (ids [rows, k], probabilities [rows, k], lambda, one or
                [rows]), mixed into each step (`distilmt.translator.neighbours`). Called from worker threads, one at a
                time (on a device from this one, at each step, which waits for it); what it raises ends the call.
            progress: called with the number of sentences done, about every 50 ms.
            search: beam_size, n_best, length_penalty, sample ...: `distilmt.translator.search.SearchOptions` says each.
        Raises: ConfigError: an argument. KeyboardInterrupt: within a second of Ctrl-C.
        """
        options = resolve(search, self._model.generation)
        if too_long == "split" and (options["n_best"] > 1 or prefixes is not None):
            raise ConfigError('too_long: "split" joins best hypotheses and goes with n_best 1 and without prefixes')
        from distilmt.translator import long_lines

        lines = self._encode("texts", texts)
        sources, counts, statuses = long_lines.cut(lines, self._room, too_long, self.vocab.word_starts)
        starts = None if prefixes is None else self._starts(checked_texts("prefixes", prefixes))
        outputs = self._decode(sources, None, options, progress, soft_labels, prefixes=starts, neighbours=neighbours)
        decoded = iter(self.vocab.decode([h[0] for _, hypotheses in outputs for h in hypotheses]))
        parts = [
            translation(status, hypotheses, lambda _: next(decoded), soft_labels) for status, hypotheses in outputs
        ]
        return long_lines.join(parts, counts, statuses, options)

    def translate_ids(
        self,
        id_lists: Sequence[Sequence[int]],
        *,
        prefixes: Sequence[Sequence[int]] | None = None,
        soft_labels: int = 0,
        neighbours: Neighbours | None = None,
        progress: Callable[[int], None] | None = None,
        **search: Unpack[SearchOptions],
    ) -> list[Translation]:
        """As `translate`, from ids; the texts of the results stay "".

        Args:
            id_lists: ids of the source vocabulary WITHOUT the end symbol, which is added here.
            prefixes: ids of the target vocabulary without the start symbol.
            soft_labels, neighbours, progress, search: as of `translate`.
        Raises: DataError: an id that the vocabulary does not have. Else what `translate` raises.
        """
        options = resolve(search, self._model.generation)
        sources = checked_ids("id_lists", id_lists, self._model.source_vocab)
        starts = None if prefixes is None else checked_ids("prefixes", prefixes, self._model.target_vocab)
        return [
            translation(status, hypotheses, lambda _: "", soft_labels)
            for status, hypotheses in self._decode(
                sources, None, options, progress, soft_labels, prefixes=starts, neighbours=neighbours
            )
        ]

    def score(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        length_penalty: float = 1.0,
        soft_labels: int = 0,
        hidden_states: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> list[Scored]:
        """Scores given targets: log-probability of every token. Forced tokens and bans of the search do not apply; ids that
        the model's renormalize_logits takes out of its distribution have log-probability -inf.

        Args:
            sources, targets: texts, one target per source.
            length_penalty: exponent of the length a score is divided by; 0 for none.
            soft_labels: as of `translate`, for the tokens of the target.
            hidden_states: report the decoder's states, as a datastore of nearest neighbours wants them.
            progress: called with the number of sentences done, about every 50 ms.
        Raises: ConfigError: counts differ, or an argument.
        """
        ids = self.vocab.encode_target(checked_texts("targets", targets))
        return self._score(self._encode("sources", sources), ids, length_penalty, soft_labels, hidden_states, progress)

    def score_ids(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        length_penalty: float = 1.0,
        soft_labels: int = 0,
        hidden_states: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> list[Scored]:
        """As `score`, from ids without end symbols: `sources` of the source vocabulary, `targets` of the target's.

        Raises: DataError: an id that the vocabulary does not have. Else what `score` raises.
        """
        sources = checked_ids("sources", sources, self._model.source_vocab)
        targets = checked_ids("targets", targets, self._model.target_vocab)
        return self._score(sources, targets, length_penalty, soft_labels, hidden_states, progress)

    def _score(
        self, sources: Any, targets: Any, length_penalty: float, soft_labels: int, hidden_states: bool, progress: Any
    ) -> list[Scored]:
        if len(sources) != len(targets):
            raise ConfigError(f"targets: expected one per source, {len(sources)}, got {len(targets)}")
        options = resolve({"length_penalty": length_penalty}, self._model.generation)
        results = []
        for status, hypotheses in self._decode(sources, targets, options, progress, soft_labels, hidden_states):
            _, score, log_probs, soft, states = hypotheses[0] if hypotheses else ([], 0.0, [], None, None)
            results.append(Scored(log_probs, score, status, soft_labels_of(soft, soft_labels), states))
        return results

    def _starts(self, prefixes: list[str]) -> list[list[int]]:
        """Ids of prefixes; of "" none, where other families would put a language tag."""
        return [ids if text else [] for text, ids in zip(prefixes, self.vocab.encode_target(prefixes), strict=True)]

    def _encode(self, name: str, texts: Sequence[str]) -> list[list[int]]:
        texts = checked_texts(name, texts)
        ids = self.vocab.encode_source(texts)
        return [[] if blank(text) else list(i) for text, i in zip(texts, ids, strict=True)]

    def _decode(
        self,
        sources: Any,
        targets: Any,
        options: dict[str, Any],
        progress: Callable[[int], None] | None,
        soft_labels: int = 0,
        hidden_states: bool = False,
        prefixes: Any = None,
        neighbours: Neighbours | None = None,
    ) -> list[tuple[Any, list[Any]]]:
        """(status, [(ids, score, log_probs, soft labels or None, hidden states or None)]) per source."""
        whole("soft_labels", soft_labels, 0, min(MAX_SOFT_LABELS, self._model.target_vocab))
        if not isinstance(hidden_states, bool):
            raise ConfigError(f"hidden_states: expected True or False, got {hidden_states!r}")
        if progress is not None and not callable(progress):
            raise ConfigError(f"progress: expected a callable, got {progress!r}")
        if prefixes is not None and len(prefixes) != len(sources):
            raise ConfigError(f"prefixes: expected one per source, {len(sources)}, got {len(prefixes)}")
        if len(self._models) > 1:
            for name, asked in (
                ("hidden_states", hidden_states),
                ("neighbours", neighbours is not None),
                ("coverage_penalty", bool(options["coverage_penalty"])),
            ):
                if asked:
                    raise ConfigError(
                        f"{name}: expected none for an ensemble, got it for {len(self._models)} models - it looks into one "
                        "model: use a Translator of a single folder"
                    )
        if neighbours is not None:
            from distilmt.translator.neighbours import checked

            neighbours = checked(neighbours, self._model.target_vocab)

        def run(models: list[Any], chosen: Sequence[int], progress: Callable[[int], None] | None) -> Any:
            def of(lists: Any) -> Any:
                return None if lists is None else [lists[i] for i in chosen]

            arguments = (
                of(sources), of(targets), options, soft_labels, hidden_states, self.threads, self.slots, progress,
                of(prefixes), neighbours,
            )  # fmt: skip
            if self.engine == "transformers":
                return models[0].decode(*arguments)
            decode = _native.decode if self.device == "cpu" else devices.decode
            return decode([model.weights for model in models], self._shares, self._geometric, *arguments)

        start = time.perf_counter()
        sources = [[*self._model.prefix, *ids, *self._model.suffix] if ids else [] for ids in sources]
        try:
            outputs = run(self._models, range(len(sources)), progress)
            redo = [i for i, (status, _) in enumerate(outputs) if status == "not_finite"]
            if redo and self.compute_type != "float32":
                for i, (status, hypotheses) in zip(redo, run(self._in_float32(), redo, None), strict=True):
                    outputs[i] = ("redone_float32" if status == "ok" else status, hypotheses)
        except MemoryError:
            workers = f"{self.threads} workers" if self.device == "cpu" else self.device
            raise MemoryExhausted(
                f"{workers} of {self.slots or 'the default'} slots: memory is exhausted - "
                "use fewer threads or slots, or a smaller beam_size or max_length"
            ) from None
        tokens = sum(len(hypotheses[0][2]) for _, hypotheses in outputs if hypotheses)
        self.stats = Stats(len(outputs), tokens, time.perf_counter() - start)
        return outputs  # type: ignore[no-any-return]

    def _in_float32(self) -> list[NativeModel]:
        """The same folders in float32, loaded when first needed."""
        self._float32_models = self._float32_models or [self._loaded(each, "float32", "own") for each in self.folders]
        return self._float32_models

    def _loaded(self, folder: Path, compute_type: str, attention: str) -> NativeModel:
        if self.device == "cpu":
            return native_model.load(folder, compute_type, self.threads)
        return devices.load(folder, compute_type, self.threads, self.device, attention)
