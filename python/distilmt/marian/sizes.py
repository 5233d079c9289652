"""Shapes of translation models: presets named after the literature, and a grammar for all others."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from distilmt.errors import ConfigError

GRAMMAR = "ENCxDEC:HIDDEN:FFN:HEADS, as in 3x1:128:512:4"


@dataclass(frozen=True)
class Size:
    """Shape of an encoder-decoder model.

    Args:
        encoder_layers, decoder_layers: how many.
        hidden: width, even and a multiple of `heads`.
        ffn: width of the feed-forward layers.
        heads: of attention; equal on both sides, as the widths are.
    """

    encoder_layers: int
    decoder_layers: int
    hidden: int
    ffn: int
    heads: int

    def __str__(self) -> str:
        return f"{self.encoder_layers}x{self.decoder_layers}:{self.hidden}:{self.ffn}:{self.heads}"


# slim, wide and their 24x6 teacher: a study of distillation with NeMo; its embeddings were not tied, as they are here.
# base and big: Vaswani et al. 2017; base-6x1 and base-12x1: deep encoder, shallow decoder (Kasai et al. 2021).
SIZES = {
    "slim-1x1": Size(1, 1, 256, 1024, 4),
    "slim-3x3": Size(3, 3, 256, 1024, 4),
    "wide-1x1": Size(1, 1, 1024, 4096, 16),
    "wide-3x3": Size(3, 3, 1024, 4096, 16),
    "wide-24x6": Size(24, 6, 1024, 4096, 16),
    "tiny": Size(6, 2, 256, 1536, 8),
    "base": Size(6, 6, 512, 2048, 8),
    "base-6x1": Size(6, 1, 512, 2048, 8),
    "base-12x1": Size(12, 1, 512, 2048, 8),
    "big": Size(6, 6, 1024, 4096, 16),
}


def parse_size(text: str) -> Size:
    """Reads a preset's name or `ENCxDEC:HIDDEN:FFN:HEADS`.

    Raises: ConfigError with the nearest presets and the grammar.
    """
    if text in SIZES:
        return SIZES[text]
    match = re.fullmatch(r"(\d{1,3})x(\d{1,3}):(\d{1,5}):(\d{1,6}):(\d{1,3})", text)
    if not match:
        near = difflib.get_close_matches(text, SIZES, n=3, cutoff=0.4) or list(SIZES)
        raise ConfigError(f"size {text!r} is unknown - use a preset (nearest: {', '.join(near)}) or {GRAMMAR}")
    size = Size(*map(int, match.groups()))
    if min(size.encoder_layers, size.decoder_layers, size.hidden, size.ffn, size.heads) < 1:
        raise ConfigError(f"size {text!r} has a zero in it - every number of {GRAMMAR} must be at least 1")
    if size.hidden % size.heads or size.hidden % 2:  # half of the positions' columns are sines, half cosines
        raise ConfigError(
            f"size {text!r}: HIDDEN must be even and a multiple of HEADS, got {size.hidden} and {size.heads}"
        )
    return size
