"""The translator against `generate` (batch size 1, float32) on a trained model and a whole test set.

    python benchmarks/parity_translate.py --model ../shared/models/multi30k-de-en \\
        --source ../shared/data/multi30k.test_2016_flickr.de.gz --beams 1 4 12

Every sentence whose best hypotheses differ must have a tie (closest decision of `generate` within 1e-5) on its way,
else the run fails. Prints and writes benchmarks/results/parity_translate.json, with --device cuda
parity_translate_cuda.json: sentences, identical ones, ties, and the largest difference of scores.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from common import save, signature
from distilmt import corpus, models
from distilmt.translate import Translator
from distilmt.vocab import Vocab

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from marian import compare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4, 12])
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="of the translator; `generate` stays on the processor")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    lines = [line.text for line in corpus.read_lines(options.source)][: options.sentences]
    sources = [ids for ids in Vocab.load(options.model).encode_source(lines) if ids]
    model = models.load(options.model)
    model.generation_config.max_length = None
    translator = Translator(options.model, device=options.device, compute_type="float32", threads=options.threads)
    results = []
    for beam_size in options.beams:
        start = time.perf_counter()
        parity = compare(
            translator, model, sources, beam_size=beam_size, max_length=model.config.max_position_embeddings
        )
        results.append({
            "beam_size": beam_size, "sentences": parity.sentences, "identical": parity.identical,
            # Of identical ones; `generate` gives greedy search no score.
            "ties": parity.margins, "largest_score_difference": parity.worst_score if beam_size > 1 else None,
            "seconds": time.perf_counter() - start,
        })  # fmt: skip
        print(results[-1], flush=True)
    shape = f"{options.model.name}:{options.source.name}"
    found = {"signature": signature("parity_translate", shape, device=options.device), "results": results}
    print(save("parity_translate" if options.device == "cpu" else "parity_translate_cuda", found))


if __name__ == "__main__":
    main()
