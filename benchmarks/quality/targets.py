"""What the models have to reach."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.quality.datasets import LARGE, SMALL, SPARSE

BEST_PEER = "the best peer"


@dataclass(frozen=True)
class Target:
    """A figure that has to be reached.

    Attributes:
        system, dataset, protocol, column: whose figure.
        at_least: a number, or
        than: a peer's name, or :data:`BEST_PEER` of the same command, the one that is best in this very figure.
        slack: how far below the peer it may be.
        significant: it has to be above the peer, with p < .05 in a paired bootstrap over the users of all splits.
        tried: what was tried in vain; shown where the target is missed.
    """

    system: str
    dataset: str
    protocol: str
    column: str
    at_least: float | None = None
    than: str | None = None
    slack: float = 0.0
    significant: bool = False
    tried: str = ""


TARGETS: tuple[Target, ...] = (
    Target("margin", SMALL, "A", "hit@100", at_least=0.418),
    Target("default", SMALL, "B", "ndcg@10", than=BEST_PEER, significant=True),
    Target("default", SMALL, "B", "hit@10", than=BEST_PEER, significant=True),
    Target("default", SMALL, "B", "hit@100", than=BEST_PEER, slack=0.005),
    Target("next", SMALL, "C", "hit@10", at_least=0.225),
    Target("next", SMALL, "C", "ndcg@10", at_least=0.125),
    Target("next", SMALL, "C", "hit@100", at_least=0.69),
    Target(
        "future",
        SMALL,
        "D",
        "hit@100",
        at_least=0.325,
        tried="half-lives, users' weights, temperatures, steps, widths, the users' features (the log of D). Most "
        "events are of users without a history, among whom a model can tell little apart: one order for all, made from "
        "the held-out events themselves, is in D's table.",
    ),
    Target("future", SMALL, "D", "hit@100 (users: warm)", than=BEST_PEER),
    Target("sequence", LARGE, "S", "hit@10", at_least=0.24),
    Target(
        "sequence",
        LARGE,
        "S",
        "hit@100",
        at_least=0.69,
        tried="with and without the GRU and an item embedding of the history's own, a falling temperature, more "
        "dropout, more epochs, the items' features, the linear head (the log of S).",
    ),
    Target("default-sparse", SPARSE, "B", "ndcg@10", than="knn", significant=True),
    Target("default-sparse", SPARSE, "B", "ndcg@10", than=BEST_PEER, slack=0.0038),
    Target("features", SMALL, "U", "ndcg@10", than="popularity", significant=True),
    Target("features", SMALL, "N", "hit@10", than="popularity", significant=True),
)
