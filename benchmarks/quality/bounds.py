"""What could be reached: a list made from the held-out events themselves."""

from __future__ import annotations

import numpy as np

from recbatch.evaluation import Lists, Task, rank_order


def heldout_popularity(task: Task) -> Lists:
    """Candidates by their held-out events: the best single order for users of whom nothing is known.

    For users with a history, whose seen items are left out, another order may be a little better.
    """
    counts = np.bincount(task.target_item[task.target_item >= 0], minlength=task.num_candidates)
    return rank_order(task, np.argsort(-counts, kind="stable"))
