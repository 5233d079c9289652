"""Who computes the encoder's attention on a CUDA device, by name: cuDNN, or this package's own kernel.

The decoder's, which looks up the ancestors of beams, is always our own; so is the encoder's on the processor.
"""

from __future__ import annotations

from typing import Literal

from distilmt.errors import ConfigError, ResourceError
from distilmt.translator import libraries

Attention = Literal["auto", "cudnn", "own"]
HELP = (
    "the encoder's on a CUDA device: cudnn, or own for this package's kernel; auto: cudnn where it is found and takes the "
    "compute type and the model (`distilmt doctor`)"
)
LEAST = (9, 18, 1)  # of cuDNN: packed sentences on every device since Ampere (docs/translator.md)


def chosen(attention: str, device: str, compute_type: str, columns: int = 8) -> Literal["cudnn", "own"] | None:
    """Who does it on a device, "cpu" or "cuda", in a compute type, with encoder heads of so many columns; None: on the
    processor, where there is nothing to choose.

    Raises: ConfigError: no such name; cuDNN, for what it does not take. ResourceError: cuDNN, which is not here.
    """
    if attention not in ("auto", "cudnn", "own"):
        raise ConfigError(f"attention: expected auto, cudnn or own, got {attention!r}")
    if device == "cpu":
        if attention != "auto":
            raise ConfigError(f'attention: expected auto on the processor, got {attention!r} - it is for device="cuda"')
        return None
    if attention == "own":
        return "own"
    refusal: ConfigError | ResourceError | None = None
    remedy = 'choose attention="own"'
    if compute_type == "float32":
        refusal = ConfigError(f"attention: cuDNN has none in float32 - {remedy}, or another compute_type")
    elif columns % 8:
        refusal = ConfigError(f"attention: cuDNN takes heads of a multiple of 8 columns, got {columns} - {remedy}")
    elif why := missing():
        refusal = ResourceError(f"attention: {why} - install nvidia-cudnn-cu{libraries.MAJOR}, or {remedy}")
    if refusal and attention == "cudnn":
        raise refusal
    return "own" if refusal else "cudnn"


def missing() -> str | None:
    """Why cuDNN cannot be had here; None: it can."""
    library = libraries.cudnn()
    if library is None:
        return f"cuDNN not found, looked for libcudnn.so.9 in the packages nvidia.cudnn, nvidia.cu{libraries.MAJOR} and torch"
    try:
        version = libraries.cudnn_version(library)
    except (OSError, AttributeError) as error:
        return f"cuDNN cannot be opened ({error})"
    if version < LEAST:
        return f"cuDNN {_dotted(version)} is too old, expected {_dotted(LEAST)} or later ({library})"
    return None


def found() -> str:
    """What "auto" comes to in half precision, and why."""
    if why := missing():
        return f"own kernel: {why}"
    library = libraries.cudnn()
    assert library is not None
    return f"cuDNN {_dotted(libraries.cudnn_version(library))}, {library}"


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
