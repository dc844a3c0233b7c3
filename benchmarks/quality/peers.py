"""The peers: which program runs them, where their parameters are searched, and where the search begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.quality.datasets import LARGE, SMALL, SPARSE

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: Sequence[Any]

    def draw(self, random: np.random.Generator) -> Any:
        """A value, each as likely as the others."""
        return self.values[int(random.integers(len(self.values)))]


@dataclass(frozen=True)
class LogUniform:
    """A number between two bounds, uniform in its logarithm; ``whole`` rounds it."""

    low: float
    high: float
    whole: bool = False

    def draw(self, random: np.random.Generator) -> float | int:
        """A number with three significant digits, so that the log can be read and typed."""
        value = float(f"{math.exp(random.uniform(math.log(self.low), math.log(self.high))):.3g}")
        return round(value) if self.whole else value


@dataclass(frozen=True)
class Peer:
    """Someone else's model, or a baseline.

    Attributes:
        label: its name on the page.
        module: ``python -m`` of its program; None: a baseline in the process of the cell, see :mod:`.measuring`.
        model: its name in that program.
        protocols: where it takes part.
        environment: folder of its lock under benchmarks/quality; None: this process' own environment.
        space: what is searched; empty: nothing is tuned.
        starts: parameters that are tried first (fixed ones alone where ``space`` is empty).
        seeded: whether another seed can give another result on the same split.
        datasets: where it takes part.
        labels: protocol -> its name on the page there, where it is another.
        bound: it is no rival, for it knows what is held out: it says what could be reached.
    """

    label: str
    module: str | None
    model: str
    protocols: str
    environment: str | None = None
    space: Mapping[str, Choice | LogUniform] = field(default_factory=dict)
    starts: Sequence[Parameters] = ({},)
    seeded: bool = False
    datasets: Sequence[str] = (SMALL,)
    labels: Mapping[str, str] = field(default_factory=dict)
    bound: bool = False

    def trials(self, count: int, seed: int) -> list[Parameters]:
        """``count`` points: the starts, then points drawn with ``seed``. Without a space its one point."""
        if not self.space:
            return [dict(self.starts[0])]
        random = np.random.default_rng(seed)
        drawn = [{name: axis.draw(random) for name, axis in self.space.items()} for _ in range(count)]
        return [*map(dict, self.starts), *drawn][:count]


_BOTH, _ALL = (SMALL, LARGE), (SMALL, LARGE, SPARSE)

PEERS: dict[str, Peer] = {
    "popularity": Peer(
        "popularity",
        None,
        "popularity",
        "ABCDSUNI",
        datasets=_ALL,
        labels={"N": "popularity (new items have none: a random order)"},
    ),
    "genre-popularity": Peer("popularity of the item's genres", None, "genre popularity", "N"),
    "recent-popularity": Peer("recent popularity (30 days)", None, "recent popularity", "D"),
    "heldout-popularity": Peer(
        "_one order for all, by the held-out events themselves_", None, "held-out popularity", "D", bound=True
    ),
    "markov": Peer(
        "Markov window",
        "benchmarks.quality.markov",
        "markov",
        "C",
        space={
            "window": Choice((1, 2, 3, 5, 8, 12)),
            "fading": Choice((0.0, 0.5, 1.0)),
            "damping": Choice((0.0, 0.2, 0.4, 0.6)),
            "length": Choice((1, 3, 5, 10, 20, 50)),
            "decay": Choice((0.6, 0.7, 0.8, 0.9, 0.95)),
        },
        starts=(
            {"window": 5, "fading": 0.5, "damping": 0.4, "length": 10, "decay": 0.8},
            {"window": 8, "fading": 0.5, "damping": 0.4, "length": 20, "decay": 0.9},
        ),
        datasets=_BOTH,
    ),
    "knn": Peer(
        "item-kNN (implicit)",
        "benchmarks.quality.implicit.peer",
        "knn",
        "ABCDU",
        environment="implicit",
        space={"weighting": Choice(("cosine", "tfidf", "bm25")), "K": LogUniform(10, 800, whole=True)},
        starts=({"weighting": "cosine", "K": 100}, {"weighting": "tfidf", "K": 100}, {"weighting": "cosine", "K": 400}),
        datasets=(SMALL, SPARSE),
    ),
    "bpr": Peer(
        "BPR (implicit)",
        "benchmarks.quality.implicit.peer",
        "bpr",
        "ABCD",
        environment="implicit",
        space={
            "factors": Choice((16, 32, 64)),
            "learning_rate": LogUniform(0.005, 0.2),
            "regularization": LogUniform(1e-4, 0.1),
            "iterations": Choice((30, 60, 100)),
        },
        starts=({"factors": 64, "learning_rate": 0.05, "regularization": 0.01, "iterations": 100},),
        seeded=True,
    ),
    "ials": Peer(
        "iALS (implicit)",
        "benchmarks.quality.implicit.peer",
        "ials",
        "ABCDU",
        environment="implicit",
        space={
            "factors": Choice((8, 16, 32, 64, 128, 256)),
            "regularization": LogUniform(0.5, 300),
            "alpha": LogUniform(1, 40),
            "iterations": Choice((10, 15, 25)),
        },
        starts=(
            {"factors": 128, "regularization": 50, "alpha": 10, "iterations": 15},
            {"factors": 16, "regularization": 50, "alpha": 10, "iterations": 15},
            {"factors": 64, "regularization": 10, "alpha": 5, "iterations": 15},
        ),
        seeded=True,
        datasets=_ALL,
    ),
    "ease": Peer(
        "EASE (RecTools)",
        "benchmarks.quality.rectools.peer",
        "ease",
        "ABCDU",
        environment="rectools",
        space={"regularization": LogUniform(30, 20_000)},
        starts=({"regularization": 500}, {"regularization": 1000}, {"regularization": 2000}),
        datasets=_BOTH,
    ),
    "ease-recent": Peer(
        "EASE (RecTools), recency-weighted query",
        "benchmarks.quality.rectools.peer",
        "ease",
        "C",
        environment="rectools",
        space={"regularization": LogUniform(30, 20_000), "decay": Choice((0.5, 0.7, 0.8, 0.9, 0.95, 0.98))},
        starts=({"regularization": 500, "decay": 0.9}, {"regularization": 1000, "decay": 0.8}),
        datasets=_BOTH,
    ),
}
