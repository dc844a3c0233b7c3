"""One peer and the night in turn over the same vectors; what both have written is looked at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed.children import run
from benchmarks.speed.facts import machine
from benchmarks.speed.inputs import DS, write_config, write_vectors
from benchmarks.speed.peers.checking import CHECKED, Written, recall
from benchmarks.speed.peers.environments import command, require_program
from benchmarks.speed.peers.figures import figures, index_parameters
from benchmarks.speed.peers.roster import Peer
from benchmarks.speed.sides import run_night
from benchmarks.speed.worlds import World
from recbatch.errors import RecbatchError

_PREPARE = "prepare"
"""A peer's step that only makes its input from ours, which is not measured."""


@dataclass(frozen=True)
class Sizes:
    """How large a comparison is.

    Attributes:
        items: candidates.
        night_users: numbers of users that the night is measured at.
        peer_users: as many numbers for the peer.
        k: rows of a query.
    """

    items: int
    night_users: Sequence[int]
    peer_users: Sequence[int]
    k: int


@dataclass(frozen=True)
class Bench:
    """Where a comparison keeps its files, and how often it measures.

    Attributes:
        folder: for vectors, outputs and the peers' own files.
        runs: of each side at each size.
        world: what the vectors are drawn from.
    """

    folder: Path
    runs: int
    world: World = field(default_factory=World)

    def compare(self, peer: Peer, sizes: Sizes) -> dict[str, Any]:
        """Night and peer in turn, so that what the machine does besides hits both.

        Raises:
            RecbatchError: a side failed, or has written something wrong.
        """
        require_program(peer)
        runs: dict[str, list[dict[str, Any]]] = {"night": [], "peer": []}
        for _ in range(self.runs):
            for night_users, peer_users in zip(sizes.night_users, sizes.peer_users, strict=True):
                night, index = self._night(night_users, sizes)
                _say("night", night, sizes)
                runs["night"].append(night)
                ran = self._peer(peer, peer_users, sizes, index_parameters(index, sizes.items, sizes.k))
                _say(peer.label, ran, sizes)
                runs["peer"].append(ran)
        about = {"label": peer.label, "wanted": peer.wanted, "items": sizes.items, "k": sizes.k, "dim": self.world.dim}
        return {**about, **figures(runs), "machine": machine(), "runs": runs}

    def _night(self, users: int, sizes: Sizes) -> tuple[dict[str, Any], Mapping[str, Any]]:
        config = write_config(self._own, {"user2item": {"k": sizes.k}}, index={"kind": "auto"})
        output = self._own / "output"
        shutil.rmtree(output, ignore_errors=True)
        ran, tables = run_night(config, self._vectors(users, sizes.items), output)
        index = tables["user2item"]["index"]
        written = Written(output / "user2item" / f"ds={DS}", ("user_id", "rank", "item_id", "score"))
        facts = {
            "users": users,
            **ran,
            "index": index["kind"],
            "index_recall_at_k": index["index_recall_at_k"],
            "recall_at_k_of_the_first": self._recall(written, users, sizes, exact=False),
        }
        return facts, index

    def _peer(self, peer: Peer, users: int, sizes: Sizes, parameters: Mapping[str, int]) -> dict[str, Any]:
        output, scratch = self._own / "peer", self._own / "scratch"
        for left in (output, scratch):  # folders, each new: one peer writes a file, another a folder of files
            shutil.rmtree(left, ignore_errors=True)
            left.mkdir(parents=True)
        options = {**peer.options, **(parameters if peer.tuned else {})}
        task = {side: str(path) for side, path in self._vectors(users, sizes.items).items()}
        task |= {"output": str(output / "rows.parquet"), "scratch": str(scratch)}
        words = command(peer, {**task, "k": sizes.k, "threads": len(os.sched_getaffinity(0)), **options})
        try:
            ran = run(words)
        except RecbatchError as error:
            raise RecbatchError(f"{peer.label}: {error}") from None
        said = json.loads(ran.output.strip().splitlines()[-1])
        steps = said.pop("seconds")
        return {
            "users": users,
            **ran.facts,
            "seconds": ran.seconds - steps.pop(_PREPARE, 0.0),
            "steps": steps,
            "options": options,
            "recall_at_k_of_the_first": self._recall(Written(output / "rows.parquet"), users, sizes, exact=peer.exact),
            **said,
        }

    @property
    def _own(self) -> Path:
        return self.folder / "peers"

    def _vectors(self, users: int, items: int) -> dict[str, Path]:
        folder = self.folder / "vectors"
        return {
            "users": write_vectors(self.world, "users", users, folder),
            "items": write_vectors(self.world, "items", items, folder),
        }

    def _recall(self, written: Written, users: int, sizes: Sizes, *, exact: bool) -> float:
        first, items = self.world.matrix("users", min(users, CHECKED)), self.world.matrix("items", sizes.items)
        return recall(written, first, items, sizes.k, exact=exact)


def _say(name: str, ran: Mapping[str, Any], sizes: Sizes) -> None:
    print(f"  {name}: {ran['users']:,} users x {sizes.items:,} items, {ran['seconds']:.1f} s", flush=True)
