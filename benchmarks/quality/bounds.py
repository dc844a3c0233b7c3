"""What could be reached: a list made from the held-out events themselves."""

from __future__ import annotations

import numpy as np

from recbatch.evaluation import Lists, Task, rank_order


def heldout_popularity(task: Task) -> Lists:
    """Candidates by their held-out events, the same order for everybody: the best list for whom nothing is known of.

    Where most queries have no history, a model can hardly place more of their events among the first hundred.
    """
    counts = np.bincount(task.target_item[task.target_item >= 0], minlength=task.num_candidates)
    return rank_order(task, np.argsort(-counts, kind="stable"))
