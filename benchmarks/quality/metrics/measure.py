"""The metrics as ranx and RecTools compute them. Runs in the environment of the lock beside this file.

``python -m benchmarks.quality.metrics.measure FOLDER``: reads ``case.npz`` (lists [q, width], target_query and
target_item [t], train_user and train_item [n], num_candidates), writes ``measured.npz``: per-query arrays [q] named
``<library>:<metric>`` (NaN where a query has no value), and single values.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from ranx import Qrels, Run, evaluate
from rectools.metrics import MAP, NDCG, CatalogCoverage, MeanInvUserFreq, Precision, Recall

_KS = (10, 100)
Case = dict[str, NDArray]


def by_ranx(case: Case) -> dict[str, NDArray]:
    """Recall, NDCG and average precision of every query."""
    targets = _targets(case)
    relevant = {f"{q}": {f"{item}": 1 for item in items} for q, items in targets.items()}
    found = {f"{q}": _scores(case["lists"][q]) or {"nothing": 1.0} for q in targets}
    names = [*(f"recall@{k}" for k in _KS), *(f"hits@{k}" for k in _KS), "ndcg@10", "map@100"]
    values = evaluate(Qrels(relevant), Run(found), names, return_mean=False)
    order = sorted(relevant)  # ranx sorts the queries by name
    return {f"ranx:{name}": _filled(case, dict(zip(map(int, order), values[name], strict=True))) for name in names}


def by_rectools(case: Case) -> dict[str, NDArray]:
    """The same by RecTools, and novelty and coverage."""
    q, place = np.nonzero(case["lists"] >= 0)
    reco = pd.DataFrame({"user_id": q, "item_id": case["lists"][q, place], "rank": place + 1})
    targets = _targets(case)
    wanted = pd.DataFrame(
        [(query, item) for query, items in targets.items() for item in items], columns=["user_id", "item_id"]
    )
    before = pd.DataFrame({"user_id": case["train_user"], "item_id": case["train_item"]})
    values = {
        **{f"recall@{k}": Recall(k=k).calc_per_user(reco, wanted) for k in _KS},
        **{f"hits@{k}": Precision(k=k).calc_per_user(reco, wanted) * k for k in _KS},
        "ndcg@10": NDCG(k=10, divide_by_achievable=True).calc_per_user(reco, wanted),
        "map@100": MAP(k=100).calc_per_user(reco, wanted),
        "users@10": MeanInvUserFreq(k=10).calc_per_user(reco, before),
    }
    catalog = np.arange(int(case["num_candidates"]))
    return {
        **{f"rectools:{name}": _filled(case, found.to_dict()) for name, found in values.items()},
        "rectools:coverage@10": np.array(CatalogCoverage(k=10, normalize=True).calc(reco, catalog)),
    }


def gini_by_definition(case: Case) -> float:
    """Half the mean absolute difference of all pairs of candidates, relative to the mean (no library has it)."""
    shown = case["lists"][:, :10]
    counts = np.bincount(shown[shown >= 0], minlength=int(case["num_candidates"])).astype(float)
    return float(np.abs(counts[:, None] - counts).mean() / (2 * counts.mean()))


def _scores(items: NDArray) -> dict[str, float]:
    return {f"{item}": float(len(items) - place) for place, item in enumerate(items) if item >= 0}


def _targets(case: Case) -> dict[int, list[int]]:
    """Targets of each query; one that no candidate stands for is an item of its own."""
    targets: dict[int, list[int]] = {}
    for number, (query, item) in enumerate(zip(case["target_query"], case["target_item"], strict=True)):
        targets.setdefault(int(query), []).append(int(item) if item >= 0 else 10**9 + number)
    return targets


def _filled(case: Case, values: dict[int, float]) -> NDArray:
    filled = np.full(len(case["lists"]), np.nan)
    filled[list(values)] = list(values.values())
    return filled


def main(folder: Path) -> None:
    """Measure the case in ``folder``."""
    with np.load(folder / "case.npz") as stored:
        case = dict(stored)
    measured: dict[str, Any] = {"gini": gini_by_definition(case), **by_ranx(case), **by_rectools(case)}
    np.savez(folder / "measured.npz", **measured)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
