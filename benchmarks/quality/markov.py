"""A Markov window in NumPy: the simplest answer to what comes next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.exchange import Exchange, Model, run_jobs, top_lists


def markov(task: Exchange, parameters: dict[str, Any], seed: int) -> NDArray[np.int32]:
    """What followed a user's last items elsewhere.

    A transition i -> j is counted for every pair of one user's events at a distance d <= ``window``, as d to the power
    of -``fading``, and divided by the popularity of j to the power of ``damping``. A query adds up the rows of its last
    ``length`` items, an item at distance d from the newest one with the weight ``decay`` ** d.
    """
    steps = np.zeros(task.num_items * task.num_items, np.float32)
    for distance in range(1, parameters["window"] + 1):
        same = task.users[distance:] == task.users[:-distance]
        pairs = task.items[:-distance][same].astype(np.int64) * task.num_items + task.items[distance:][same]
        found, times = np.unique(pairs, return_counts=True)
        steps[found] += times * np.float32(distance ** -parameters["fading"])
    matrix = steps.reshape(task.num_items, task.num_items)
    matrix /= np.maximum(task.counts, 1) ** np.float32(parameters["damping"])

    def scores(rows: slice) -> NDArray[np.floating]:
        row, item, distance = task.last_items(rows, parameters["length"])
        weights = np.zeros((rows.stop - rows.start, task.num_items), np.float32)
        np.add.at(weights, (row, item), np.float32(parameters["decay"]) ** distance)
        return weights @ matrix

    return top_lists(task, scores)


MODELS: dict[str, Model] = {"markov": markov}

if __name__ == "__main__":
    run_jobs(MODELS)
