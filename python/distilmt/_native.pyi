from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

def build_facts() -> dict[str, str | bool]: ...
def active_isa() -> str: ...
def available_isas() -> list[str]: ...

Candidate = tuple[str, Sequence[int], float, float, int]  # text, ids, score, log-probability, tokens

def encode_record(
    line: int, verdict: int, cause: str, candidates: Sequence[Candidate], soft: bytes, forced: bytes
) -> bytes: ...
def scan_records(
    data: bytes, offset: int, limit: int
) -> list[tuple[int, int, str, list[Candidate], bytes, bytes, int]]: ...
def crc32c(data: bytes, before: int = 0) -> int: ...

class Weights:
    def __init__(
        self,
        path: bytes,
        entries: Sequence[tuple[str, str, list[int], int, int]],
        config: dict[str, Any],
        threads: int = 1,
    ) -> None: ...

class DeviceError(RuntimeError): ...
class OutOfDeviceMemory(MemoryError): ...
class NotOnDevice(ValueError): ...

class Device:
    def __init__(self, library: str, cublaslt: str, cudnn: str, ordinal: int) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def free_bytes(self) -> int: ...
    def prepare_attention(self, weights: Weights, compute_type: str) -> None: ...

class DeviceModel:
    def __init__(self, device: Device, weights: Weights, compute_type: str, cudnn: bool) -> None: ...

def count_devices(library: str) -> tuple[int, str]: ...
def decode_on_device(
    models: Sequence[DeviceModel],
    shares: Sequence[float],
    geometric: bool,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]] | None,
    options: dict[str, Any],
    soft_labels: int,
    hidden_states: bool,
    slots: int,
    progress: Callable[[int], None] | None,
    prefixes: Sequence[Sequence[int]] | None,
    neighbours: Callable[[Any], tuple[Any, Any, Any]] | None,
) -> list[tuple[str, list[Any]]]: ...
def decode(
    models: Sequence[Weights],
    shares: Sequence[float],
    geometric: bool,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]] | None,
    options: dict[str, Any],
    soft_labels: int,
    hidden_states: bool,
    threads: int,
    slots: int,
    progress: Callable[[int], None] | None,
    prefixes: Sequence[Sequence[int]] | None,
    neighbours: Callable[[Any], tuple[Any, Any, Any]] | None,
) -> list[tuple[str, list[tuple[list[int], float, list[float], tuple[Any, ...] | None, Any]]]]: ...
def encode_soft_labels(target: NDArray[Any], ids: NDArray[Any], log_probs: NDArray[Any], floor: float) -> bytes: ...
def encode_states(target: NDArray[Any], states: NDArray[Any]) -> bytes: ...
def decode_soft_labels(bytes: bytes) -> tuple[NDArray[Any], ...]: ...
def soft_label_targets(
    bytes: NDArray[Any], offsets: NDArray[Any], lines: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def gather_soft_labels(
    bytes: NDArray[Any], offsets: NDArray[Any], lines: NDArray[Any], labels: NDArray[Any], k: int, columns: int
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def gather_states(
    bytes: NDArray[Any], offsets: NDArray[Any], lines: NDArray[Any], labels: NDArray[Any], width: int
) -> NDArray[Any]: ...
def rank(
    lists: Sequence[
        tuple[int, Sequence[tuple[str, Sequence[int], float, float]], str | None, Sequence[int], Sequence[float]]
    ],
    options: dict[str, Any],
    threads: int,
) -> list[tuple[list[int], list[float], tuple[float, float, float, float] | None]]: ...
def tokenize_13a(text: str | bytes) -> list[str]: ...
