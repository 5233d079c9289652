"""Fixtures of the whole suite. Nothing here needs a network, a device or `../shared`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import signal

import pytest

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import MarianMTModel

    from distilmt.knn import Datastore
    from distilmt.training.batches import Pairs
    from distilmt.vocab import Vocab

# A suite that was started in the background ignores Ctrl-C, and the programs that it tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real text and models beside the checkout; for tests marked `data`."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data and ../shared/models, which lie beside the checkout of the developers")
    return SHARED


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    """Every device an operator has a kernel for; a test that takes it is written once."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return str(request.param)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(data, name="text.de"): puts bytes into a file and returns its path."""

    def written(data: bytes, name: str = "text.de") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return written


@pytest.fixture(scope="session")
def tiny_vocab() -> Vocab:
    """A real joint SentencePiece vocabulary of 120 ids, from generated sentences."""
    from distilmt.vocab import Vocab

    nouns = ["Hund", "Katze", "Haus", "Baum", "dog", "cat", "house", "tree", "garden", "Garten", "river", "Fluss"]
    verbs = ["sieht", "findet", "liebt", "baut", "sees", "finds", "loves", "builds"]
    words = [f"the {n} {v} {m} ." for n in nouns for v in verbs for m in nouns] + [
        f"{i} Uhr {i * 7}" for i in range(99)
    ]
    return Vocab.train(words, 120, seed=1)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Vocab) -> Path:
    """An untrained Marian folder (2+2 layers, d 32) with varied output; read-only by agreement, copy it to change it."""
    from distilmt import models

    folder = tmp_path_factory.mktemp("models") / "tiny"
    models.save(lively_model(tiny_vocab), tiny_vocab, folder)
    return folder


@pytest.fixture(scope="session")
def store(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Datastore:
    """A datastore of the text of knn_text.py."""
    from distilmt import knn
    from knn_text import written

    folder = tmp_path_factory.mktemp("knn")
    return knn.build(model=str(tiny_model_folder), out=str(folder / "store"), threads=1, **written(folder))


@pytest.fixture(scope="session")
def two_sentences(tiny_vocab: Vocab) -> dict[str, Tensor]:
    """Two sentences of 4 and 2 targets."""
    import torch

    labels = torch.tensor([[5, 9, 30, tiny_vocab.eos_id], [7, tiny_vocab.eos_id, -100, -100]])
    decoder = torch.tensor([[tiny_vocab.pad_id, 5, 9, 30], [tiny_vocab.pad_id, 7, *[tiny_vocab.pad_id] * 2]])
    source = torch.tensor([[8, 11, tiny_vocab.eos_id], [12, tiny_vocab.eos_id, tiny_vocab.pad_id]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    return {"labels": labels, "input_ids": source, "attention_mask": mask, "decoder_input_ids": decoder}


@pytest.fixture(scope="session")
def vocabulary() -> Vocab:
    """Of 40 generated pairs, those of `pairs`."""
    from distilmt.text.grammar import generate
    from distilmt.vocab import Vocab

    return Vocab.train([line for side in zip(*generate(40, seed=1), strict=True) for line in side], 120)


@pytest.fixture(scope="session")
def pairs(vocabulary: Vocab) -> Pairs:
    """A corpus for trainings of a second."""
    from distilmt.text.grammar import generate
    from distilmt.training.batches import encode_pairs

    sources, targets = zip(*generate(40, seed=1), strict=True)
    return encode_pairs(sources, targets, range(1, 41), vocabulary, max_tokens=64, what="test")


def lively_model(vocab: Vocab, size: str = "2x2:32:64:4", seed: int = 1, **options: Any) -> MarianMTModel:
    """An untrained model whose greedy output is varied, depends on the source and has no ties.

    As created, a model with tied embeddings repeats one word for ever: the state is nearest to the word that was put in.
    Sharp attention to the source and random signs in the decoder's last normalisation undo that.
    """
    import torch

    from distilmt import models

    model = models.create(models.parse_size(size), vocab, seed=seed, max_positions=128, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")) or ("encoder_attn" in name and "proj.weight" in name):
                parameter *= 3
            elif "decoder" in name and "self_attn" in name and "proj.weight" in name:
                parameter *= 0.3
            elif "decoder" in name and "final_layer_norm.weight" in name:
                parameter *= torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
    return model.eval()
