"""Options of the meter, the same in every command; they never change a result, so no stage counts them among its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from distilmt.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class EnergyOptions:
    """How energy is found out; keywords of `Meter`. docs/energy.md says what each way is worth."""

    energy: Literal["auto", "counters", "codecarbon", "model", "constant", "none"] = field(
        default="auto",
        metadata={"help": "where joules come from; auto: counters where there are any, and else they stay unknown"},
    )
    cpu_watts: tuple[float, float] | None = field(
        default=None,
        metadata={"help": "for --energy model: watts of all processors idle and at full load", "metavar": "IDLE FULL"},
    )
    constant_watts: tuple[float, float] | None = field(
        default=None,
        metadata={"help": "for --energy constant: the machine draws between these", "metavar": "LOW HIGH"},
    )
    idle_watts: float | None = field(
        default=None, metadata={"help": "subtract this baseline of the idle machine", "metavar": "WATTS"}
    )
    attribution: Literal["machine", "cpu-share"] | float = field(
        default="machine",
        metadata={
            "help": "what part of the processors' energy counts: all, this process's share of CPU time, or a number"
        },
    )
    gpu_share: float = field(
        default=1.0, metadata={"help": "what part of the cards' energy counts, where they are shared or cut in slices"}
    )

    def __post_init__(self) -> None:
        for name, watts in (("cpu-watts", self.cpu_watts), ("constant-watts", self.constant_watts)):
            if watts is not None and not 0 <= watts[0] <= watts[1] < float("inf"):
                raise ConfigError(f"--{name} must be two watts, the lower one first, got {watts[0]:g} {watts[1]:g}")
        if self.energy == "model" and self.cpu_watts is None:
            raise ConfigError(
                "--energy model needs --cpu-watts IDLE FULL: what your processors draw idle and at full load"
            )
        if self.energy == "constant" and self.constant_watts is None:
            raise ConfigError("--energy constant needs --constant-watts LOW HIGH: between what the machine's draw lies")
        if self.idle_watts is not None and not 0 <= self.idle_watts < float("inf"):
            raise ConfigError(f"--idle-watts must be 0 or more, got {self.idle_watts:g}")
        share = self.attribution  # an integer too, from Python
        if not isinstance(share, str) and (isinstance(share, bool) or not 0 < share <= 1):
            raise ConfigError(f"--attribution must be machine, cpu-share or a number in (0, 1], got {share!r}")
        if not 0 < self.gpu_share <= 1:
            raise ConfigError(f"--gpu-share must lie in (0, 1], got {self.gpu_share:g}")
