"""How a training is watched and stopped: the progress bar, and SIGTERM (checkpoint, then stop)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from distilmt.interface import progress


class Stop(TrainerCallback):
    """Within `with stop:` SIGTERM ends the training after its next checkpoint; the bar shows updates, loss, speed, dev BLEU.

    `ready(update)` says whether a checkpoint after so many updates holds all that the next one hangs on; if not, the training
    goes on until it does.
    """

    def __init__(self, name: str, ready: Callable[[int], bool] = lambda update: True) -> None:
        self.name, self.ready = name, ready
        self.terminated = False
        self.bar: Any = None
        self.facts: dict[str, str] = {}
        self.previous: Any = None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # others may not set handlers
            self.previous = signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, *error: object) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGTERM, self.previous)

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self.terminated = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.bar = progress.bar(state.max_steps, self.name, "update", state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(1)
        if state.global_step >= state.max_steps:
            control.should_log = control.should_evaluate = True  # also where eval_every does not divide the updates
        # One that is due anyway is such a checkpoint.
        if self.terminated and (control.should_save or self.ready(state.global_step)):
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Loss and speed come every few updates, dev BLEU with an evaluation: what is not new stays."""
        if self.bar is not None:
            shown = {"loss": ("loss", ".4g"), "tokens_per_second": ("tok/s", ",.0f"), "eval_bleu": ("dev BLEU", ".1f")}
            self.facts |= {label: format(logs[key], form) for key, (label, form) in shown.items() if key in logs}
            self.bar.set_postfix(self.facts, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.close()
