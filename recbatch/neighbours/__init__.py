"""The k best candidates of every query: exact and approximate search, exclusions, recall and tuning.

Plain functions on NumPy and pyarrow, without Beam or TensorFlow.
"""

from recbatch.neighbours.exclusions import Exclusions
from recbatch.neighbours.ids import exclusions_of, ordinals_of, places_of
from recbatch.neighbours.planning import SAMPLE_QUERIES, IndexPlan, plan_index
from recbatch.neighbours.recall import Recall, index_recall, mean_recall, query_recalls
from recbatch.neighbours.scores import Neighbours, Scores, best_scores, merge, score
from recbatch.neighbours.search import find_neighbours
from recbatch.neighbours.threads import ahead, for_each
from recbatch.neighbours.tune import Start, Trial, Tuning, exact_tuning, tune

__all__ = [
    "SAMPLE_QUERIES",
    "Exclusions",
    "IndexPlan",
    "Neighbours",
    "Recall",
    "Scores",
    "Start",
    "Trial",
    "Tuning",
    "ahead",
    "best_scores",
    "exact_tuning",
    "exclusions_of",
    "find_neighbours",
    "for_each",
    "index_recall",
    "mean_recall",
    "merge",
    "ordinals_of",
    "places_of",
    "plan_index",
    "query_recalls",
    "score",
    "tune",
]
