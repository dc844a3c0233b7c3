"""The peers: which script runs each, in which environment, at which sizes, and how far ahead the night should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Peer:
    """Another library's way to the best candidates of each query.

    Attributes:
        label: its name in the table.
        script: folder of its ``peer.py``.
        items: the size of the catalog.
        users: numbers of users that it is measured at; the night has its own, for a query costs it so much less.
        environment: folder of its lock; None: the package's own environment.
        options: what its script takes besides files, k and threads.
        wanted: how many times as many queries per second the night should rank and write.
        exact: it compares with every candidate, so it has to find all of the best.
        tuned: it gets the parameters of the night's index.
        program: a program that has to be on the machine.
    """

    label: str
    script: str
    items: int
    users: Sequence[int]
    environment: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    wanted: float = 1.0
    exact: bool = True
    tuned: bool = False
    program: str | None = None


_BRUTE, _SCANN = {"layer": "brute-force"}, {"layer": "scann"}

PEERS: dict[str, Peer] = {
    "implicit": Peer(
        "implicit, recommend", "implicit", 100_000, (10_000, 50_000), "implicit", {"batch": 5_000}, wanted=10.0
    ),
    "faiss": Peer("faiss, IndexFlatIP", "faiss", 100_000, (20_000, 80_000), "faiss", {"batch": 20_000}),
    "tfrs-brute-force": Peer(
        "TFRS BruteForce, batches", "tfrs", 100_000, (5_000, 30_000), options=_BRUTE | {"batch": 256}
    ),
    "tfrs-scann": Peer(
        "TFRS ScaNN, batches",
        "tfrs",
        100_000,
        (100_000, 400_000),
        options=_SCANN | {"batch": 20_000},
        exact=False,
        tuned=True,
    ),
    "tfrs-brute-force-one": Peer(
        "TFRS BruteForce, one query per call", "tfrs", 100_000, (1_000, 4_000), options=_BRUTE | {"batch": 0}
    ),
    "tfrs-scann-one": Peer(
        "TFRS ScaNN, one query per call",
        "tfrs",
        100_000,
        (4_000, 16_000),
        options=_SCANN | {"batch": 0},
        exact=False,
        tuned=True,
    ),
    "spark": Peer(
        "Spark ALS, recommendForAllUsers",
        "spark",
        20_000,
        (4_000, 12_000),
        "spark",
        {"memory": "4g"},
        wanted=50.0,
        program="java",
    ),
}
