"""Decoding a real text with a trained model, lengths as they come: the translator, CTranslate2, `generate`; and the BLEU of each.

    python benchmarks/bench_text.py --model TEACHER --text test.de.gz test.en.gz --threads 2 --rounds 3 --beams 1 4 8

Sentences/s and their ratios: the systems say nearly the same, so a token more or less is no speed. Others run at their best
batch size of 8, 16, 32 and 64. Writes benchmarks/results/text_threadsN.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench_translate import best_batch, with_cpu_time
from common import interleaved, save, signature
from distilmt import models
from distilmt.corpus import load_corpus
from distilmt.evaluate import score
from distilmt.translate import Translator

Run = Callable[[int, int], list[list[int]]]


def ctranslate2_of(folder: Path, model: str, kind: str, ids: list[list[int]], threads: int) -> Run:
    """Translates the ids by beam size and batch size."""
    import ctranslate2

    if not folder.exists():
        ctranslate2.converters.TransformersConverter(model).convert(str(folder))
    pieces = json.loads((folder / "shared_vocabulary.json").read_text())
    numbers = {piece: i for i, piece in enumerate(pieces)}
    words = [[pieces[i] for i in sentence] + ["</s>"] for sentence in ids]
    translator = ctranslate2.Translator(str(folder), compute_type=kind, inter_threads=threads, intra_threads=1)

    def run(beam: int, batch: int) -> list[list[int]]:
        out = translator.translate_batch(words, beam_size=beam, max_batch_size=batch, max_decoding_length=128)
        return [[numbers[piece] for piece in result.hypotheses[0]] for result in out]

    return run


def generate_of(model: str, ids: list[list[int]], threads: int) -> Run:
    """The same by Hugging Face's `generate`, sentences sorted by length."""
    asked, order = models.load(model).eval(), sorted(range(len(ids)), key=lambda i: len(ids[i]))
    asked.generation_config.max_length = None  # ours is max_new_tokens
    pad, eos = asked.config.pad_token_id, asked.config.eos_token_id

    def run(beam: int, batch: int) -> list[list[int]]:
        torch.set_num_threads(threads)
        found: dict[int, list[int]] = {}
        for first in range(0, len(order), batch):
            part = order[first : first + batch]
            longest = max(len(ids[i]) for i in part) + 1
            rows = torch.tensor([[*ids[i], eos] + [pad] * (longest - 1 - len(ids[i])) for i in part])
            with torch.inference_mode():
                out = asked.generate(
                    rows, attention_mask=(rows != pad).long(), num_beams=beam, do_sample=False, max_new_tokens=128
                )
            found |= {i: [t for t in row.tolist()[1:] if t not in (pad, eos)] for i, row in zip(part, out, strict=True)}
        return [found[i] for i in range(len(ids))]

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", nargs=2, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4, 8])
    given = parser.parse_args()
    text = load_corpus(tuple(given.text))
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        ours = {kind: Translator(given.model, threads=given.threads, compute_type=kind) for kind in ("int8", "float32")}
        vocab = ours["int8"].vocab
        ids = vocab.encode_source(text.sources)
        peers = {
            f"ctranslate2 {kind}": ctranslate2_of(Path(name) / "ct2", given.model, kind, ids, given.threads)
            for kind in ours
        }
        peers["generate"] = generate_of(given.model, ids, given.threads)
        for beam in given.beams:
            said: dict[str, list[list[int]]] = {}

            def own(kind: str, beam: int = beam, said: dict[str, list[list[int]]] = said) -> None:
                said[kind] = [
                    t.hypotheses[0].ids for t in ours[kind].translate_ids(ids, beam_size=beam, max_length=128)
                ]

            def other(peer: str, batch: int, beam: int = beam, said: dict[str, list[list[int]]] = said) -> None:
                said[peer] = peers[peer](beam, batch)

            batches = {peer: best_batch(partial(other, peer), "cpu") for peer in peers}
            runs: dict[str, Callable[[], Any]] = {kind: partial(own, kind) for kind in ours}
            runs |= {peer: partial(other, peer, batches[peer]) for peer in peers}
            cpu: dict[str, list[float]] = {each: [] for each in runs}
            taken = interleaved({each: with_cpu_time(run, cpu[each]) for each, run in runs.items()}, given.rounds)
            entry = results[f"beam {beam}"] = {}
            for each in runs:
                bleu = score(vocab.decode(said[each]), text.targets).bleu
                entry[each] = {
                    "sentences_per_second": len(ids) / median(taken[each]),
                    "bleu": bleu,
                    "batch": batches.get(each),
                }
                if each in ours:
                    entry[each]["times_faster_than"] = {p: median(taken[p]) / median(taken[each]) for p in peers}
                    entry[each]["by_cpu_time"] = {p: median(cpu[p]) / median(cpu[each]) for p in peers}
                ratios = {p: round(r, 2) for p, r in entry[each].get("times_faster_than", {}).items()}
                print(
                    f"beam {beam:2d}  {each:20s} {entry[each]['sentences_per_second']:7.1f} sentences/s, BLEU {bleu:.2f} {ratios}",
                    flush=True,
                )
    torch.set_num_threads(given.threads)
    print(
        save(
            f"text_threads{given.threads}",
            {"signature": signature("text", f"{len(ids)} sentences"), "results": results},
        )
    )


if __name__ == "__main__":
    main()
