"""Whether a new bundle is worse than another, or than popularity: the same questions to all, the same answers known.

A question is a user with positives in the training split and others held out. What is asked for are the ten best items
of all, the user's training items left out, as a night would publish them from the training split: one vector per user,
made from the profile as of the split. An item or a user that a bundle does not know can only be missed.

What decides is the measure that early stopping goes by: a fit is as good by it as it could become, and by others as
chance has it. All of them are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbatch.config.models import EarlyStopping, Model
from recbatch.errors import InputError
from recbatch.model.bundle import Bundle
from recbatch.model.data import Prepared
from recbatch.model.evaluation import stopping_metric
from recbatch.model.heldout import Split
from recbatch.model.profiles import user_profiles
from recbatch.model.ranges import ranges
from recbatch.model.ranking import Scores, heldout_metrics, heldout_ranks, sample_queries
from recbatch.model.tower import Tower

Answers = NDArray[np.int64]
"""Ranks [t] of all targets by one system, 0 is best; a missed target has the largest int64."""


class Questions:
    """The held-out positives of a split as questions to any bundle.

    Attributes:
        places: [t] the event of each target.
        criterion: name of the figure that decides.
    """

    def __init__(self, model: Model, prepared: Prepared, split: Split) -> None:
        self._prepared = prepared
        self._train = prepared.events.select(~split.heldout)
        self._counts = np.bincount(self._train.users, minlength=prepared.users.num_rows)
        self._starts = np.cumsum(self._counts) - self._counts
        events, width = prepared.events, prepared.items.num_rows
        pairs = events.users.astype(np.int64) * width + events.items
        candidates = np.flatnonzero(split.heldout & (self._counts[events.users] > 0))
        fresh = candidates[~np.isin(pairs[candidates], pairs[~split.heldout])]
        fresh = np.sort(fresh[np.unique(pairs[fresh], return_index=True)[1]])
        askable = np.unique(events.users[fresh])
        self.users = askable[sample_queries(len(askable))]
        self.places = fresh[np.isin(events.users[fresh], self.users)]
        self._query_of = np.searchsorted(self.users, events.users[self.places])
        self._targets = events.items[self.places].astype(np.int64)

        stopping = model.training.early_stopping or EarlyStopping()
        self.criterion = stopping_metric(stopping, len(np.unique(self._train.items)))

    def ask_bundle(self, bundle: Bundle) -> Answers:
        """The answers of a bundle's measured towers; of the exported ones if it keeps no others.

        Raises:
            InputError: it is not of users and items, or reads what the data does not have.
        """
        query, candidate = measured_towers(bundle)
        if (query.entity, candidate.entity) != ("user", "item"):
            raise InputError(f"its towers embed {query.entity}s and {candidate.entity}s, not users and items")
        times = self._train.times_us
        as_of = None if times is None or not len(times) else int(times.max())
        queries, known_queries = _vectors(query, user_profiles(self._prepared, self._train, self.users), as_of)
        items, known_items = _vectors(candidate, self._prepared.items, as_of)

        def scores(part: slice) -> NDArray[np.float32]:
            found = queries[part] @ items.T
            found[:, ~known_items] = -np.inf
            return found

        known = known_queries[self._query_of] & known_items[self._targets]
        return self._ranks(scores, np.where(known, self._targets, -1))

    def ask_popularity(self) -> Answers:
        """The answers of the items with the most positives in the training split, the same for everybody."""
        counts = np.bincount(self._train.items, minlength=self._prepared.items.num_rows).astype(np.float32)
        return self._ranks(lambda part: np.repeat(counts[None], part.stop - part.start, axis=0), self._targets)

    def _ranks(self, scores: Scores, targets: NDArray[np.int64]) -> Answers:
        return heldout_ranks(
            scores, (len(self.users), self._prepared.items.num_rows), self._query_of, targets, self._seen
        )

    def _seen(self, part: slice) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(row, item) of the training items of the users in ``part``."""
        asked = self.users[part]
        rows, events = ranges(self._starts[asked], self._counts[asked])
        return rows, self._train.items[events]

    def quality(self, answers: Answers, asked: NDArray[np.bool_]) -> dict[str, float]:
        """NDCG@10 (mean over users), recall@10 and recall@100 (over targets) on the targets in ``asked`` [t]."""
        return heldout_metrics(answers[asked], self._query_of[asked])

    def compare(
        self, new: Answers, other: Answers, tolerance: float, asked: NDArray[np.bool_] | None = None
    ) -> dict[str, Any]:
        """Figures of both on the targets in ``asked`` [t] (None: all), and whether the new one is worse.

        Worse is less than ``(1 - tolerance)`` times what the other reaches by the criterion.
        """
        chosen = np.ones(len(self._targets), bool) if asked is None else asked
        figures = {"new": self.quality(new, chosen), "other": self.quality(other, chosen)}
        worse = figures["new"][self.criterion] < (1.0 - tolerance) * figures["other"][self.criterion]
        queries = len(np.unique(self._query_of[chosen]))
        counts = {"queries": queries, "targets": int(chosen.sum())}
        return {"worse": bool(worse), "criterion": self.criterion, **counts, **figures}


def measured_towers(bundle: Bundle) -> tuple[Tower, Tower]:
    """(query, candidate) towers of a verified bundle that have not seen what it held out, as far as it has such."""
    measured: Mapping[str, Any] | None = bundle.manifest.get("measured")
    folder = bundle.folder if measured is None else bundle.folder / "measured"
    towers = bundle.manifest["towers"] if measured is None else measured
    return Tower(folder / "query", towers["query"]), Tower(folder / "candidate", towers["candidate"])


def _vectors(tower: Tower, profiles: Any, as_of_us: int | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors, zeros where a night would publish none, and whether it would."""
    vectors, known = tower.embed(profiles, as_of_us)
    known &= np.isfinite(vectors).all(axis=1)
    vectors[~known] = 0.0
    return vectors, known
