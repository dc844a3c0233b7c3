"""How far a fit goes, and what changes on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from recbatch.config.models import Model

_FEW_ITEMS, _POWER, _LEAST = 1_700, 0.6, 0.4
"""Of ``final_temperature: auto``: up to so many items the temperature stays, above it falls with this power of them, to
this share of it at least."""


@dataclass(frozen=True)
class Schedule:
    """The steps of a fit and the temperature in each.

    Attributes:
        steps: at most so many; the schedules end with them.
        first: temperature at the start.
        last: temperature after ``steps``.
        cosine: whether the learning rate falls along half a cosine; else it stays.
    """

    steps: int
    first: float
    last: float
    cosine: bool

    @classmethod
    def of(cls, model: Model, steps_per_epoch: int, num_items: int) -> Schedule:
        """As the configuration says, for a fit to events of so many items."""
        training = model.training
        steps = max(training.min_steps, steps_per_epoch * training.epochs)
        last = training.final_temperature or model.temperature
        if last == "auto":
            last = model.temperature * min(1.0, max(_LEAST, (_FEW_ITEMS / max(1, num_items)) ** _POWER))
        return cls(steps, model.temperature, last, training.schedule == "cosine")

    def until(self, step: int) -> Schedule:
        """That of a fit which shall become what this one was after ``step`` steps."""
        return replace(self, steps=step, last=self.temperature(step))

    def temperature(self, step: int) -> float:
        """What scores are divided by after ``step`` steps.

        It goes from ``first`` to ``last`` geometrically, in proportion to the learning rate spent so far and not to the
        steps: the last steps of a cosine hardly move a weight, so what is learnt at a low temperature comes before.
        """
        done = min(1.0, step / self.steps)
        if self.cosine:
            done += math.sin(math.pi * done) / math.pi  # the integral of 1 + cos, up to here
        return self.first * (self.last / self.first) ** done
