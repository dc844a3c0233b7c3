"""Small worlds and models for the tests of the model room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from recbatch.config.models import Model
from recbatch.model import TrainingData

DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000


def interactions(
    users: list[str],
    items: list[str],
    times_us: list[int] | None = None,
    positive: list[bool] | None = None,
    **context: Any,
) -> pa.Table:
    """Clean interactions; everything is positive unless said otherwise."""
    columns: dict[str, Any] = {"user_id": users, "item_id": items}
    if times_us is not None:
        columns["timestamp"] = pa.array(times_us, pa.int64())
    columns["positive"] = positive if positive is not None else [True] * len(users)
    columns["seen"] = [True] * len(users)
    return pa.table(columns | {f"context:{name}": values for name, values in context.items()})


def planted(num_users: int = 60, num_items: int = 40, per_user: int = 12, *, timestamps: bool = True) -> TrainingData:
    """Two tastes: even users take even items, odd users odd ones, with features that say so; some values missing."""
    random = np.random.default_rng(3)
    users = np.repeat(np.arange(num_users), per_user)
    items = random.integers(0, num_items // 2, len(users)) * 2 + users % 2
    times = START_US + random.integers(0, 50 * DAY_US, len(users))
    table = interactions(
        [f"user {u}" for u in users],
        [f"item/{i}" for i in items],
        times.tolist() if timestamps else None,
        device=[["phone", "desk", None][u % 3] for u in users],
    )
    user_table = pa.table(
        {
            "id": [f"user {u}" for u in range(num_users)],
            "feature:taste": pa.array([None if u % 7 == 0 else ["even", "odd"][u % 2] for u in range(num_users)]),
            "feature:age": pa.array([None if u % 5 == 0 else float(20 + u) for u in range(num_users)], pa.float32()),
        }
    )
    item_table = pa.table(
        {
            "id": [f"item/{i}" for i in range(num_items)],
            "feature:name": [f"The {['Even', 'Odd'][i % 2]} Thing, No. {i}!" for i in range(num_items)],
            "feature:tags": pa.array([["even"] if i % 2 == 0 else ["odd", "b"] for i in range(num_items)]),
        }
    )
    return TrainingData(table, user_table, item_table)


def every_feature(**changes: Any) -> Model:
    """A model with a feature of every kind."""
    return small_model(
        query={
            "features": [
                {"kind": "id", "dim": 8, "dropout": 0.2},
                {"kind": "category", "column": "taste", "dim": 4},
                {"kind": "category", "column": "device", "dim": 4},
                {"kind": "number", "column": "age"},
                {"kind": "timestamp", "bins": 5, "dim": 4, "hour_of_day": True, "weekday": True},
                {"kind": "history", "length": 6, "dim": 8, "dropout": 0.3},
            ],
            "layers": [16],
        },
        candidate={
            "features": [
                {"kind": "id", "dim": 8},
                {"kind": "text", "column": "name", "dim": 4},
                {"kind": "multi_category", "column": "tags", "dim": 4},
            ]
        },
        **changes,
    )


def small_model(training: dict[str, Any] | None = None, **changes: Any) -> Model:
    """Towers of ids unless said otherwise, 8 wide, two epochs."""
    ids = {"features": [{"kind": "id", "dim": 8}]}
    settings: dict[str, Any] = {"dim": 8, "query": ids, "candidate": ids, "retriever": {"k": 5}, **changes}
    return Model.model_validate({**settings, "training": {"epochs": 2, "batch_size": 64, **(training or {})}})


def history_model(train_on: str = "others", **changes: Any) -> Model:
    """A user is the sum of what they took."""
    query = {
        "features": [{"kind": "history", "length": 10, "dim": 8, "train_on": train_on}],
        "combine": "sum",
        "projection": False,
    }
    return small_model(query=query, **changes)
