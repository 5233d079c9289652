"""What a model computes on its way to the output, and how deep and wide it is: what layer terms compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Side = Literal["encoder", "decoder", "cross"]


@dataclass(frozen=True)
class Layers:
    """Hidden states and attention maps of one model on one batch.

    encoder, decoder: the embeddings' output, then each layer's: [batch, source, d] and [batch, target, d].
    source_mask, target_mask: bool [batch, source] and [batch, target]: what is no padding; of the target, what has a label.
    attention: of "encoder", "decoder" and "cross", each layer's weights [batch, heads, queries, keys]; empty where none
        were asked for.
    """

    encoder: Sequence[Tensor]
    decoder: Sequence[Tensor]
    source_mask: Tensor
    target_mask: Tensor
    attention: dict[Side, Sequence[Tensor]]

    @classmethod
    def of(cls, outputs: Any, source_mask: Tensor, target_mask: Tensor) -> Layers:
        """From the outputs of a Hugging Face encoder-decoder with `output_hidden_states`, and `output_attentions` or without."""
        attention: dict[Side, Any] = {
            "encoder": outputs.encoder_attentions, "decoder": outputs.decoder_attentions, "cross": outputs.cross_attentions
        }  # fmt: skip
        return cls(
            outputs.encoder_hidden_states, outputs.decoder_hidden_states, source_mask, target_mask,
            {side: maps or () for side, maps in attention.items()},
        )  # fmt: skip

    def states(self, side: Side) -> tuple[Sequence[Tensor], Tensor]:
        """Hidden states of a side, and its mask."""
        return (self.encoder, self.source_mask) if side == "encoder" else (self.decoder, self.target_mask)


@dataclass(frozen=True)
class Shape:
    """Of a model: width `hidden`; `encoder_layers` and `decoder_layers`; `encoder_heads` and `decoder_heads` of attention."""

    hidden: int
    encoder_layers: int
    decoder_layers: int
    encoder_heads: int
    decoder_heads: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a Hugging Face configuration of a Marian or BART model."""
        return cls(
            config.d_model, config.encoder_layers, config.decoder_layers, config.encoder_attention_heads,
            config.decoder_attention_heads,
        )  # fmt: skip

    def layers(self, side: Side) -> int:
        """Of the encoder, else of the decoder."""
        return self.encoder_layers if side == "encoder" else self.decoder_layers

    def heads(self, side: Side) -> int:
        """Of a layer of the encoder, else of the decoder."""
        return self.encoder_heads if side == "encoder" else self.decoder_heads
