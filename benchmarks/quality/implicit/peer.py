"""iALS, BPR and item-kNN as the package `implicit` has them. Runs in the environment of the lock beside this file."""

from __future__ import annotations

from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from benchmarks.quality.exchange import Exchange, Model, run_jobs, top_lists

_NEIGHBOURS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}


def ials(task: Exchange, parameters: dict[str, Any], seed: int) -> NDArray[np.int32]:
    """Implicit ALS (Hu, Koren, Volinsky 2008). A query is folded in from its history, so new users get an answer."""
    model = AlternatingLeastSquares(**parameters, random_state=seed)
    model.fit(_train_matrix(task), show_progress=False)

    def scores(rows: slice) -> NDArray[np.floating]:
        history = csr_matrix(task.histories(rows))
        return model.recalculate_user(np.arange(history.shape[0]), history) @ model.item_factors.T

    return top_lists(task, scores)


def bpr(task: Exchange, parameters: dict[str, Any], seed: int) -> NDArray[np.int32]:
    """Bayesian personalised ranking (Rendle et al. 2009). It knows the training users alone."""
    model = BayesianPersonalizedRanking(**parameters, random_state=seed)
    model.fit(_train_matrix(task), show_progress=False)

    def scores(rows: slice) -> NDArray[np.floating]:
        return model.user_factors[np.maximum(task.query_users[rows], 0)] @ model.item_factors.T

    return top_lists(task, scores, task.with_history & (task.query_users >= 0))


def item_knn(task: Exchange, parameters: dict[str, Any], seed: int) -> NDArray[np.int32]:
    """Neighbours of the history's items, by cosine, TF-IDF or BM25. An item is no neighbour of itself."""
    model = _NEIGHBOURS[parameters["weighting"]](K=parameters["K"])
    model.fit(_train_matrix(task), show_progress=False)
    neighbours = model.similarity - diags(model.similarity.diagonal())
    return top_lists(task, lambda rows: (csr_matrix(task.histories(rows)) @ neighbours).toarray())


def _train_matrix(task: Exchange) -> csr_matrix:
    pairs = np.unique(task.users.astype(np.int64) * task.num_items + task.items)
    ones = np.ones(len(pairs), np.float32)
    shape = (task.num_users, task.num_items)
    return csr_matrix((ones, (pairs // task.num_items, pairs % task.num_items)), shape=shape)


MODELS: dict[str, Model] = {"ials": ials, "bpr": bpr, "knn": item_knn}

if __name__ == "__main__":
    run_jobs(MODELS)
