"""Are the metrics right? The same lists measured by recbatch, ranx and RecTools, query by query.

``python -m benchmarks.quality.check_metrics`` (or ``make check-metrics``) makes random lists and targets of several
shapes, with short and empty lists, targets that no candidate stands for and items that nobody has taken; has both
libraries measure them in an environment of their own; prints the largest difference of every metric, and fails if one
is above rounding.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.cells import ROOT
from benchmarks.quality.environments import peer_environment, python_of
from recbatch.errors import RecbatchError
from recbatch.metrics import coverage, gini, places_of_targets, query_metrics, self_information, user_sums
from recbatch.metrics.bootstrap import estimates

_ENVIRONMENT = "metrics"
_TOLERANCE = 1e-6  # sums over users are kept in float32
_WIDTH = 100


@dataclass(frozen=True)
class Case:
    """Random lists [q, 100] with targets and training events."""

    lists: NDArray[np.int32]
    target_query: NDArray[np.int32]
    target_item: NDArray[np.int32]
    train_user: NDArray[np.int64]
    train_item: NDArray[np.int64]
    num_candidates: int

    @property
    def popularity(self) -> NDArray[np.int64]:
        """Training events of each candidate."""
        return np.bincount(self.train_item, minlength=self.num_candidates)


def random_case(seed: int, queries: int, candidates: int, most_targets: int) -> Case:
    """Lists that find some of their targets, as a model would."""
    random = np.random.default_rng(seed)
    lists = np.full((queries, _WIDTH), -1, np.int32)
    target_query, target_item = [], []
    for query in range(queries):
        length = 0 if random.random() < 0.05 else int(random.integers(1, min(_WIDTH, candidates) + 1))
        # The lower a number, the likelier it is listed and wanted: so there are hits.
        weights = 1.0 / np.arange(1, candidates + 1)
        chosen = random.choice(candidates, length, replace=False, p=weights / weights.sum())
        lists[query, :length] = chosen
        share = weights / weights.sum()
        wanted = random.choice(candidates, int(random.integers(1, most_targets + 1)), replace=False, p=share)
        wanted = np.where(random.random(len(wanted)) < 0.05, -1, wanted)
        target_query.append(np.full(len(wanted), query))
        target_item.append(wanted)
    taken = candidates - candidates // 10  # the others are cold
    pairs = random.choice(queries * taken, min(queries * taken // 2, 20 * queries), replace=False)
    return Case(
        lists,
        np.concatenate(target_query).astype(np.int32),
        np.concatenate(target_item).astype(np.int32),
        pairs // taken,
        pairs % taken,
        candidates,
    )


def measured_elsewhere(case: Case) -> dict[str, NDArray]:
    """What ranx and RecTools say.

    Raises:
        RecbatchError: their environment cannot be made, or they failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "case.npz", **vars(case))
        done = subprocess.run(
            [str(python_of(_ENVIRONMENT)), "-m", "benchmarks.quality.metrics.measure", folder],
            cwd=ROOT,
            env=peer_environment(_ENVIRONMENT),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or "without a word").strip().splitlines()
            raise RecbatchError(f"ranx and RecTools failed: {said[-1]}")
        with np.load(Path(folder) / "measured.npz") as stored:
            return dict(stored)


def differences(case: Case, theirs: dict[str, NDArray]) -> dict[str, float]:
    """Metric and library -> largest absolute difference over the queries."""
    queries = len(case.lists)
    places = places_of_targets(case.lists, case.target_query, case.target_item)
    ours = query_metrics(places, case.target_query, queries, _WIDTH)
    whole = estimates(
        [
            user_sums(
                case.lists,
                target_query=case.target_query,
                target_item=case.target_item,
                users=np.arange(queries),
                activity=np.bincount(case.train_user, minlength=queries),
                popularity=case.popularity,
            )
        ],
        repetitions=0,
    )["all"]
    wanted = np.bincount(case.target_query, minlength=queries)
    found: dict[str, float] = {}
    for library in ("ranx", "rectools"):
        for name in ("recall@10", "recall@100", "ndcg@10", "map@100"):
            value = np.nan_to_num(theirs[f"{library}:{name}"])  # a library may leave a query with an empty list out
            found[f"{name}, {library}"] = float(np.abs(ours[name] - value).max())
            found[f"mean {name}, {library}"] = abs(whole[name].value - float(value.mean()))
        for k in (10, 100):
            hits = np.nan_to_num(theirs[f"{library}:hits@{k}"])
            found[f"capped_recall@{k}, {library}"] = float(
                np.abs(ours[f"capped_recall@{k}"] - hits / np.minimum(wanted, k)).max()
            )
            found[f"hit@{k}, {library}"] = abs(whole[f"hit@{k}"].value - float(hits.sum() / wanted.sum()))
    # RecTools' novelty is per user where ours is per event: it differs by a constant.
    constant = np.log2(len(case.train_item) / len(np.unique(case.train_user)))
    novelty = self_information(case.lists[:, :10], case.popularity) - constant
    found["novelty@10, rectools"] = float(np.nanmax(np.abs(novelty - theirs["rectools:users@10"])))
    found["coverage@10, rectools"] = abs(
        coverage(case.lists[:, :10], case.num_candidates) - float(theirs["rectools:coverage@10"])
    )
    found["gini@10, definition"] = abs(gini(case.lists[:, :10], case.num_candidates) - float(theirs["gini"]))
    return found


def main() -> int:
    """Compare; 0 if everything agrees."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    shapes = ((200, 60, 20), (150, 400, 40), (100, 3000, 300))
    worst: dict[str, float] = {}
    try:
        for seed, (queries, candidates, most) in enumerate(shapes):
            case = random_case(seed, queries, candidates, most)
            for name, value in differences(case, measured_elsewhere(case)).items():
                worst[name] = max(worst.get(name, 0.0), value)
    except RecbatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for name, value in worst.items():
        print(f"{name:35} {value:.1e} {'' if value <= _TOLERANCE else 'DIFFERENT'}")
    wrong = [name for name, value in worst.items() if not value <= _TOLERANCE]
    print(f"{len(worst) - len(wrong)} of {len(worst)} agree in {sum(shape[0] for shape in shapes)} lists")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
