"""A student that begins as a thinner copy of its teacher: embeddings, norms and output as they are, layers by a table.

Source: DistilBART (Shleifer & Rush 2020, arXiv:2010.13002), after DistilBERT (Sanh et al. 2019). Everything copied stays
trainable (NeMo's released code freezes its copies and counts layers of the student where it means the teacher's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distilmt.errors import ConfigError
from distilmt.objectives.layer_tables import Layers, copied, every_nth

SIZE = (
    "d_model", "encoder_ffn_dim", "decoder_ffn_dim", "encoder_attention_heads", "decoder_attention_heads",
)  # fmt: skip
SAME = (
    *SIZE, "vocab_size", "activation_function", "scale_embedding", "tie_word_embeddings", "share_encoder_decoder_embeddings",
)  # fmt: skip


def copy_layers(
    student: Any,
    teacher: Any,
    *,
    by: Layers = "published",
    encoder: Sequence[int] | None = None,
    decoder: Sequence[int] | None = None,
) -> tuple[list[int], list[int]]:
    """Fills a Marian student with its teacher's parameters, in place.

    Args:
        student, teacher: equal but for their numbers of layers.
        by: which layers: the published tables, or one of every n (objectives/layer_tables.py).
        encoder, decoder: teacher layers to copy, from 0, one per student layer, in place of these.
    Returns: the layers that were copied.
    Raises: ConfigError: the models differ in width, vocabulary or kind, or layers are named that the teacher does not have.
    """
    for name in SAME:
        ours, theirs = getattr(student.config, name), getattr(teacher.config, name)
        if ours != theirs:
            remedy = "choose the student's size so" if name in SIZE else "start from another model"
            raise ConfigError(
                f"copying layers: student and teacher must have one {name}, got {ours} and {theirs} - {remedy}"
            )
    chosen = []
    for side, asked in (("encoder", encoder), ("decoder", decoder)):
        here, there = (getattr(model.config, f"{side}_layers") for model in (student, teacher))
        of = copied if by == "published" else every_nth
        layers = of(there, here) if asked is None else list(asked)
        if len(layers) != here or not all(0 <= layer < there for layer in layers):
            raise ConfigError(
                f"copying layers: expected {here} {side} layers from 0 to {there - 1}, got {layers} - one per student layer"
            )
        chosen.append(layers)
    state, theirs = student.state_dict(), teacher.state_dict()
    for name in state:
        if "embed_positions" in name:
            continue  # sinusoids, as many as each model has
        parts = name.split(".")
        if "layers" in parts:  # model.encoder.layers.3.fc1.weight
            at = parts.index("layers") + 1
            layers = chosen[0] if "encoder" in parts else chosen[1]
            parts[at] = str(layers[int(parts[at])])
        state[name] = theirs[".".join(parts)].clone()
    student.load_state_dict(state)
    student.requires_grad_(True)
    for side in (student.model.encoder, student.model.decoder):
        side.embed_positions.weight.requires_grad_(False)  # sinusoids
    return chosen[0], chosen[1]
