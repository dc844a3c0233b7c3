"""EASE as the package RecTools has it. Runs in the environment of the lock beside this file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rectools.dataset import Dataset
from rectools.models import EASEModel

from benchmarks.quality.exchange import Exchange, Model, run_jobs, top_lists


def ease(task: Exchange, parameters: dict[str, Any], seed: int) -> NDArray[np.int32]:
    """Embarrassingly shallow autoencoders (Steck 2019).

    ``regularization`` is the package's. With ``decay`` below 1 a query's newest items weigh most, each older one
    ``decay`` times the one after it: the model that was fitted to sets, asked for what comes next.
    """
    pairs = np.unique(task.users.astype(np.int64) * task.num_items + task.items)
    model = EASEModel(regularization=parameters["regularization"])
    data = {
        "user_id": pairs // task.num_items,
        "item_id": pairs % task.num_items,
        "weight": 1,
        "datetime": "2000-01-01",
    }
    dataset = Dataset.construct(pd.DataFrame(data))
    model.fit(dataset)
    known = dataset.item_id_map.external_ids.astype(np.int64)  # the package numbers the items it has seen by itself
    decay = parameters.get("decay", 1.0)

    def scores(rows: slice) -> NDArray[np.floating]:
        all_items = np.zeros((rows.stop - rows.start, task.num_items), np.float32)
        all_items[:, known] = task.histories(rows, decay)[:, known] @ model.weight
        return all_items

    return top_lists(task, scores)


MODELS: dict[str, Model] = {"ease": ease}

if __name__ == "__main__":
    run_jobs(MODELS)
