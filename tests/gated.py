"""A small world of two days for nights with the model gate, and a model that is good there or is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from world import Published, World, run

from recbatch.cli.main import main
from recbatch.launch.nightly import Outcome
from recbatch.launch.prepare import prepare_night
from recbatch.night import Plan

DAY_MS = 86_400_000
MIDNIGHT_MS = 1_709_942_400_000  # 2024-03-09
FIRST, SECOND = "2024-03-09", "2024-03-10"
GOOD: dict[str, Any] = {
    "dim": 8,
    "temperature": 0.2,
    "normalize": True,
    "training": {
        "epochs": 12,
        "batch_size": 128,
        "learning_rate": 0.03,
        "early_stopping": None,
        "heldout": {"split": "random", "share": 0.2},
    },
}
BAD = [f"model.training.{setting}" for setting in ("epochs=1", "learning_rate=1e-9", "refit=false")]
"""Overrides that make a model which has learnt nothing."""
SETTINGS = {
    "model": GOOD,
    "tables": {name: {"enabled": False} for name in ("item2item", "user2user", "item2user")} | {"user2item": {"k": 5}},
}


def clustered_world() -> World:
    """Users who keep to items of their own kind; the second day repeats the pattern with more users and items."""
    rng = np.random.default_rng(11)
    events = []
    for user in range(80):
        own = [item for item in range(80) if item % 4 == user % 4]
        chosen = rng.choice(own[: 15 if user < 60 else 20], 10, replace=False)
        for number, item in enumerate(chosen):
            at = MIDNIGHT_MS + 1_000 * (100 * number + user) + (DAY_MS if user >= 60 or number >= 9 else 0)
            events.append({"who": f"u{user:02d}", "what": f"i{item:02d}", "at": at, "stars": 4.0, "kind": "view"})
    return World(events)


@dataclass(frozen=True)
class Gated:
    """A config, and an output with the night of :data:`FIRST` made by a good model."""

    config: str
    output: Path

    def night(self, ds: str, *sets: str) -> Outcome:
        return run(self.config, self.output, ds=ds, sets=sets)

    def plan(self, ds: str, *sets: str) -> Plan:
        return prepare_night(self.config, sets, str(self.output), ds, model=None, force=False)

    def command(self, ds: str, *sets: str) -> int:
        words = [word for setting in sets for word in ("--set", setting)]
        return main(["nightly", self.config, "--output", str(self.output), "--ds", ds, *words])

    def manifest(self, ds: str) -> dict[str, Any]:
        return Published(self.output, ds).manifest
