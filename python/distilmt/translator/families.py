"""The families of models that the native translator knows, as one table of differences.

All are encoder-decoders of one build: multi-head attention, feed-forward layers, one matrix of embeddings that is the
output projection too unless the config unties it. What a config may set (widths, depths, heads, activation, scale of the
embedding, ties) is no difference between families. Source: configuration_*.py and modeling_*.py of transformers 5.23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Family:
    """What sets a family apart.

    defaults: its configuration's, for what a config leaves out, where they are not those of COMMON.
    position_table: `marian`: sinusoids computed in double; `learned`: stored; `m2m100`: sinusoids of another formula.
    first_position: row of the position table that the first token reads; None: the padding id plus 1.
    pre_norm: norms stand before each sublayer and behind each stack, not after each sublayer.
    embedding_norm: the sum of embedding and position is normalised.
    begin: sources begin with the symbol `bos_token_id`. Language tags are the tokenizer's business.
    """

    defaults: dict[str, Any]
    position_table: Literal["marian", "learned", "m2m100"]
    first_position: int | None
    pre_norm: bool
    embedding_norm: bool
    begin: bool


COMMON: dict[str, Any] = {
    "vocab_size": 50265, "d_model": 1024, "max_position_embeddings": 1024, "activation_function": "gelu",
    "encoder_layers": 12, "encoder_ffn_dim": 4096, "encoder_attention_heads": 16,
    "decoder_layers": 12, "decoder_ffn_dim": 4096, "decoder_attention_heads": 16,
    "scale_embedding": False, "tie_word_embeddings": True,
    "share_encoder_decoder_embeddings": True, "decoder_vocab_size": None,  # only Marian knows separate ones
    "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

MARIAN = {
    "vocab_size": 58101, "bos_token_id": None, "pad_token_id": 58100, "decoder_start_token_id": 58100,
    "eos_token_id": 0, "forced_eos_token_id": 0,
}  # fmt: skip
BART = {"decoder_start_token_id": 2, "forced_eos_token_id": 2}
MBART = {"decoder_start_token_id": None, "forced_eos_token_id": 2}
M2M100 = {"vocab_size": 128112, "activation_function": "relu", "scale_embedding": True, "decoder_start_token_id": 2}

FAMILIES: dict[str, Family] = {  # by model_type
    "marian": Family(MARIAN, "marian", 0, pre_norm=False, embedding_norm=False, begin=False),
    "bart": Family(BART, "learned", 2, pre_norm=False, embedding_norm=True, begin=True),
    "mbart": Family(MBART, "learned", 2, pre_norm=True, embedding_norm=True, begin=False),  # mBART-50 too
    "m2m_100": Family(M2M100, "m2m100", None, pre_norm=True, embedding_norm=False, begin=False),  # NLLB too
}
