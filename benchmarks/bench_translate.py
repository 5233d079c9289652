"""Decoding speed: the translator against CTranslate2 and Hugging Face `generate` on the same CPUs.

A random Marian model (base 6+6: d 512, ffn 2048, 8 heads, 32,001 words), 128 sentences of 14 to 42 source tokens, forced
to 28 target tokens. `generate` uses all threads on one batch; CTranslate2 and ours use one worker per thread. The
others run at their best batch size of 8, 16, 32 and 64, found in a first round.

    python benchmarks/bench_translate.py --threads 2 --rounds 3 --beams 1 4 8 12 --types float32 bfloat16 int8

Prints target tokens/s (median, lowest, highest), per second of CPU time too, and by how much ours of each compute type is
faster than each peer; writes benchmarks/results/translate_6+6_threadsN.json. DISTILMT_ISA and CT2_FORCE_CPU_ISA hold both
to an instruction set, with DNNL_MAX_CPU_ISA for CTranslate2's products, which are oneDNN's (on Intel MKL_ENABLE_INSTRUCTIONS).

    python benchmarks/bench_translate.py --device cuda --sentences 8192 --types float16 --peers "ctranslate2 float16" generate

has all of them on the device, `generate` in float16, the others at their best batch of 64, 128, 256 and 512.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import MarianConfig, MarianMTModel

from common import interleaved, save, signature
from distilmt.marian.sizes import Size, parse_size
from distilmt.translate import Translator

LENGTH = 28
VOCAB = 32_001


def random_model(size: Size) -> MarianMTModel:
    """Random weights: speed does not depend on them when the length is forced."""
    torch.manual_seed(1)
    config = MarianConfig(
        vocab_size=VOCAB, d_model=size.hidden, encoder_layers=size.encoder_layers, decoder_layers=size.decoder_layers,
        encoder_ffn_dim=size.ffn, decoder_ffn_dim=size.ffn, encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads, max_position_embeddings=256,
        activation_function="relu", scale_embedding=True, pad_token_id=VOCAB - 1, decoder_start_token_id=VOCAB - 1,
        eos_token_id=0, forced_eos_token_id=None,
    )  # fmt: skip
    model = MarianMTModel(config).eval()
    with torch.no_grad():
        model.model.shared.weight[VOCAB - 1] = 0  # CTranslate2 starts from a zero vector
    model.generation_config.bad_words_ids = [[VOCAB - 1]]
    model.generation_config.max_length = None
    return model


BATCHES = {"cpu": (8, 16, 32, 64), "cuda": (64, 128, 256, 512)}


def generate(model: MarianMTModel, sources: list[list[int]], beam_size: int, batch: int, threads: int) -> None:
    """Sorted by length, so that padding is as small as it can be."""
    torch.set_num_threads(threads)  # CTranslate2 shares the OpenMP runtime and has set it to its own number
    pad, ordered = VOCAB - 1, sorted(sources, key=len)
    for first in range(0, len(ordered), batch):
        part = [[*ids, 0] for ids in ordered[first : first + batch]]
        longest = max(map(len, part))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in part], device=model.device)
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=(ids != pad).long(), num_beams=beam_size, do_sample=False,
                max_new_tokens=LENGTH, min_new_tokens=LENGTH,
            )  # fmt: skip
        assert out.shape == (len(part), LENGTH + 1)


def ctranslate2_of(
    folder: Path, compute_type: str, sources: list[list[int]], threads: int, device: str
) -> Callable[[int, int], None]:
    """A function of beam size and batch size, or ImportError where the package is missing."""
    import ctranslate2

    if not (folder / "converted").exists():
        ctranslate2.converters.TransformersConverter(str(folder)).convert(str(folder / "converted"))
    translator = ctranslate2.Translator(
        str(folder / "converted"), device=device, compute_type=compute_type,
        inter_threads=threads if device == "cpu" else 1, intra_threads=1,
    )  # fmt: skip
    words = [[f"w{i}" for i in ids] + ["</s>"] for ids in sources]

    def run(beam_size: int, batch: int) -> None:
        out = translator.translate_batch(
            words, beam_size=beam_size, max_batch_size=batch, max_decoding_length=LENGTH, min_decoding_length=LENGTH
        )
        assert all(len(result.hypotheses[0]) == LENGTH for result in out)

    return run


def write_vocabulary(folder: Path) -> None:
    """A vocabulary of made-up words: CTranslate2's converter wants a tokenizer, though only ids are translated."""
    import json

    from distilmt.vocab import Vocab

    texts = (" ".join(random.Random(i).choices("abcdefghijklmnopqrstuvwxyz", k=30)) for i in range(200))
    Vocab.train(texts, 40, seed=1).save(folder)
    pieces = ["</s>", "<unk>", *(f"w{i}" for i in range(2, VOCAB - 1)), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))


def with_cpu_time(run: Callable[[], Any], seconds: list[float]) -> Callable[[], None]:
    """Notes the CPU seconds of each run: on a machine shared with others they say more than those of the clock."""

    def timed() -> None:
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)

    return timed


def best_batch(run: Callable[[int], None], device: str) -> int:
    """The fastest of the device's, each tried once."""
    seconds = {}
    for batch in BATCHES[device]:
        start = time.perf_counter()
        run(batch)
        seconds[batch] = time.perf_counter() - start
    return min(seconds, key=seconds.__getitem__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument(
        "--size", type=parse_size, default="base", help="of the model, as in base-6x1 or 6x1:512:2048:8"
    )
    parser.add_argument("--sentences", type=int, default=128)
    parser.add_argument("--types", nargs="+", default=["float32", "bfloat16", "int8"], help="compute types of ours")
    parser.add_argument("--peers", nargs="*", default=["ctranslate2 int8", "ctranslate2 float32", "generate"])
    parser.add_argument("--name", default="", help="added to the name of the results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = random.Random(1)
    sources = [[rng.randrange(2, VOCAB - 1) for _ in range(rng.randint(13, 41))] for _ in range(options.sentences)]
    tokens = len(sources) * LENGTH

    facts = {"length": LENGTH, "workers": options.threads, "transformers": version("transformers")}
    size, layers = options.size, f"{options.size.encoder_layers}+{options.size.decoder_layers}"
    shape = f"{layers}x{size.hidden}x{size.ffn}x{VOCAB}x{options.sentences}"
    where = f"threads{options.threads}" if options.device == "cpu" else options.device
    out = f"translate_{layers}_{where}{options.name}"
    if options.device != "cpu":
        facts["device"] = torch.cuda.get_device_name()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = random_model(size)
        model.save_pretrained(folder)
        write_vocabulary(folder)
        ours = {
            kind: Translator(folder, device=options.device, threads=options.threads, compute_type=kind)
            for kind in options.types
        }
        if options.device != "cpu":
            model = model.half().to(options.device)
        peers: dict[str, Callable[[int, int], None]] = {}
        for peer in options.peers:
            if peer == "generate":
                peers[peer] = lambda beam, batch: generate(model, sources, beam, batch, options.threads)
                continue
            try:
                peers[peer] = ctranslate2_of(folder, peer.split()[1], sources, options.threads, options.device)
                facts["ctranslate2"] = version("ctranslate2")
            except ImportError:
                print("ctranslate2 is not installed: not measured")
        for beam_size in options.beams:
            competitors: dict[str, Callable[[], Any]] = {}
            for kind, translator in ours.items():
                competitors[kind] = partial(
                    translator.translate_ids, sources, beam_size=beam_size, max_length=LENGTH, min_length=LENGTH
                )
                competitors[kind]()  # the others are warm from looking for their best batch
            batches = {peer: best_batch(partial(run, beam_size), options.device) for peer, run in peers.items()}
            for peer, run in peers.items():
                competitors[peer] = partial(run, beam_size, batches[peer])
            cpu: dict[str, list[float]] = {each: [] for each in competitors}
            counted = {each: with_cpu_time(run, cpu[each]) for each, run in competitors.items()}
            seconds = interleaved(counted, options.rounds, warm_up=0)
            entry: dict[str, dict[str, Any]] = {}
            results[f"beam {beam_size}"] = entry
            for each, taken in seconds.items():
                speeds = sorted(tokens / s for s in taken)
                entry[each] = {
                    "tokens_per_second": median(speeds), "lowest": speeds[0], "highest": speeds[-1],
                    "tokens_per_cpu_second": tokens / median(cpu[each]), "batch": batches.get(each),
                }  # fmt: skip
                if each in ours:
                    entry[each]["times_faster_than"] = {p: median(seconds[p]) / median(taken) for p in peers}
                    entry[each]["by_cpu_time"] = {p: median(cpu[p]) / median(cpu[each]) for p in peers}
                ratios = {p: round(r, 2) for p, r in entry[each].get("times_faster_than", {}).items()}
                cpu_ratios = {p: round(r, 2) for p, r in entry[each].get("by_cpu_time", {}).items()}
                print(
                    f"beam {beam_size:2d}  {each:20s} {median(speeds):7.0f} tokens/s [{speeds[0]:.0f}, {speeds[-1]:.0f}]",
                    f"batch {batches[each]}"
                    if each in batches
                    else f"times faster: {ratios}; by CPU time: {cpu_ratios}",
                    flush=True,
                )
            torch.set_num_threads(options.threads)  # for the signature
            # After every beam size: the larger ones take their time.
            print(save(out, {"signature": signature("translate", shape, **facts), "results": results}))


if __name__ == "__main__":
    main()
