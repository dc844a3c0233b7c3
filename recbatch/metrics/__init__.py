"""How well held-out events are found. Everything is vectorised over top-k lists of candidate numbers."""

from recbatch.metrics.bootstrap import REPETITIONS, Difference, Estimate, compare, compare_all, estimates
from recbatch.metrics.diversity import coverage, gini, self_information
from recbatch.metrics.found import places_of_targets, query_metrics
from recbatch.metrics.groups import thirds_by_count, thirds_by_share
from recbatch.metrics.ranks import ndcg_at_k, recall_at_k, target_ranks
from recbatch.metrics.sums import UserSums, user_sums

__all__ = [
    "REPETITIONS",
    "Difference",
    "Estimate",
    "UserSums",
    "compare",
    "compare_all",
    "coverage",
    "estimates",
    "gini",
    "ndcg_at_k",
    "places_of_targets",
    "query_metrics",
    "recall_at_k",
    "self_information",
    "target_ranks",
    "thirds_by_count",
    "thirds_by_share",
    "user_sums",
]
