"""A former student with tags for further target languages: all weights stay, the tags' rows are drawn as those of a new model."""

from __future__ import annotations

from transformers import MarianMTModel

from distilmt import models
from distilmt.vocab import Vocab


def widened(former: MarianMTModel, vocab: Vocab, seed: int) -> MarianMTModel:
    """A copy of a model for its vocabulary with further ids before `<pad>` (Vocab.with_tags)."""
    config = former.config
    model = models.create(
        models.size_of(former), vocab, dropout=config.dropout, seed=seed, max_positions=config.max_position_embeddings,
        activation=config.activation_function,
    )  # fmt: skip
    state, kept = model.state_dict(), config.vocab_size - 1
    for name, tensor in former.state_dict().items():
        rows, old = (each.T if name == "final_logits_bias" else each for each in (state[name], tensor))
        rows[: kept if len(rows) == vocab.size else None] = old[: kept if len(rows) == vocab.size else None]
    return model
