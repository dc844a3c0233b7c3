"""How sure a value is: the percentile bootstrap over users (Efron and Tibshirani, 1993), by multinomial weights.

A user is resampled with all queries, targets and splits that are theirs, for these depend on one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recbatch.metrics.sums import ALL, USER_GROUPS, UserSums

REPETITIONS = 1000
_SEED = 0xB007
_BLOCK_WEIGHTS = 1 << 21  # weights at a time: 16 MB


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; None where a resampling of users says nothing about it, or none was made."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Difference:
    """First system less second: value, 95 % interval, and the two-sided p-value of the paired bootstrap.

    ``p`` is twice the share of the resamples in which the difference is not of its sign, at least 2 / (resamples + 1).
    """

    value: float
    low: float
    high: float
    p: float


Statistics = dict[str, tuple[list[str], NDArray[np.float64]]]
"""Group -> (metrics [m], values [resamples, m])."""


def estimates(splits: Sequence[UserSums], *, repetitions: int = REPETITIONS) -> dict[str, dict[str, Estimate]]:
    """Group -> metric -> estimate, the mean over ``splits`` of one system on several splits of the same data.

    Args:
        splits: their user numbers mean the same users.
        repetitions: resamples; 0: no intervals.
    """
    users = _all_users(splits)
    values = _statistics(splits, users, np.ones((1, len(users))))
    drawn = [_statistics(splits, users, weights) for weights in _resamples(len(users), repetitions)]
    result: dict[str, dict[str, Estimate]] = {}
    for group, (metrics, value) in values.items():
        bounds = _interval(np.concatenate([block[group][1] for block in drawn])) if drawn else None
        result[group] = {
            metric: Estimate(float(value[0, place]), *([] if bounds is None else bounds[:, place].tolist()))
            for place, metric in enumerate(metrics)
            if not np.isnan(value[0, place])
        }
    for group, metric in splits[0].of_lists:
        mean = float(np.mean([split.of_lists[group, metric] for split in splits]))
        if not np.isnan(mean):
            result[group][metric] = Estimate(mean)
    return {group: metrics for group, metrics in result.items() if metrics}


def compare(first: Sequence[UserSums], second: Sequence[UserSums], metric: str, *, group: str = ALL) -> Difference:
    """:func:`compare_all` for one metric."""
    return compare_all(first, second, [metric], group=group)[metric]


def compare_all(
    first: Sequence[UserSums],
    second: Sequence[UserSums],
    metrics: Sequence[str],
    *,
    group: str = ALL,
    repetitions: int = REPETITIONS,
) -> dict[str, Difference]:
    """Paired bootstrap of the difference of two systems on the same splits: the same users are drawn for both.

    Args:
        first: sums of the first system on each split.
        second: the same of the second.
        metrics: means over users, so neither coverage nor Gini.
        group: ``all``, a group of users or one of items.
        repetitions: resamples.

    Raises:
        ValueError: the systems were not asked for the same users, or do not have a metric in that group.
    """
    same = len(first) == len(second) and all(
        np.array_equal(a.users, b.users) for a, b in zip(first, second, strict=False)
    )
    if not same:
        raise ValueError("the two systems were not measured on the same splits")
    users = _all_users(first)
    wanted = [(ALL if group in USER_GROUPS else group, metric) for metric in metrics]
    pair = [[_columns(split, wanted) for split in system] for system in (first, second)]

    def differences(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        ours, theirs = (_statistics(system, users, weights)[group][1] for system in pair)
        return ours - theirs

    values = differences(np.ones((1, len(users))))[0]
    drawn = np.concatenate([differences(weights) for weights in _resamples(len(users), repetitions)])
    return {
        metric: _difference(float(value), resampled[~np.isnan(resampled)])
        for metric, value, resampled in zip(metrics, values, drawn.T, strict=True)
    }


def _difference(value: float, drawn: NDArray[np.float64]) -> Difference:
    if not len(drawn):
        return Difference(value, float("nan"), float("nan"), 1.0)
    low, high = _interval(drawn).tolist()
    opposite = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Difference(value, low, high, min(1.0, float(2 * (opposite + 1) / (len(drawn) + 1))))


def _columns(split: UserSums, wanted: Sequence[tuple[str, str]]) -> UserSums:
    """Only some columns of a split's sums."""
    missing = [f"{metric} of {group}" for group, metric in wanted if (group, metric) not in split.columns]
    if missing:
        raise ValueError(f"there is no {missing[0]} to compare")
    places = [split.columns.index(column) for column in wanted]
    return replace(
        split,
        columns=tuple(wanted),
        numerators=split.numerators[:, places],
        denominators=split.denominators[:, places],
    )


def _all_users(splits: Sequence[UserSums]) -> NDArray[np.int32]:
    return np.unique(np.concatenate([split.users for split in splits]))


def _resamples(count: int, repetitions: int) -> Iterator[NDArray[np.float64]]:
    """Blocks [b, count] of how often each user is drawn when as many are drawn as there are."""
    random = np.random.default_rng([_SEED, count])
    block = max(1, _BLOCK_WEIGHTS // max(1, count))
    for start in range(0, repetitions if count else 0, block):
        size = min(block, repetitions - start)
        drawn = random.integers(0, count, (size, count), dtype=np.int64) + np.arange(size)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)


def _statistics(splits: Sequence[UserSums], users: NDArray[np.int32], weights: NDArray[np.float64]) -> Statistics:
    """The values of all groups when user i counts ``weights[:, i]`` times; a mean over the splits that have any."""
    per_split = [_split_statistics(split, weights[:, np.searchsorted(users, split.users)]) for split in splits]
    result: Statistics = {}
    for group, (metrics, _) in per_split[0].items():
        values = np.stack([split[group][1] for split in per_split])
        there = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            result[group] = metrics, np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)
    return result


def _split_statistics(split: UserSums, weights: NDArray[np.float64]) -> Statistics:
    # One matrix product per group of users; everything else is sums of these.
    parts = []
    for code in range(4):
        chosen = split.activity == code
        sums = [weights[:, chosen] @ part[chosen] for part in (split.numerators, split.denominators)]
        parts.append(np.stack(sums))
    result: Statistics = {}
    names = np.array([group for group, _ in split.columns])
    for group in dict.fromkeys(names.tolist()):
        result[group] = _ratios(split, names == group, parts, (0, 1, 2, 3))
    for group, codes in USER_GROUPS.items():
        result[group] = _ratios(split, names == ALL, parts, codes)
    return result


def _ratios(
    split: UserSums, chosen: NDArray[np.bool_], parts: Sequence[NDArray[np.float64]], codes: Sequence[int]
) -> tuple[list[str], NDArray[np.float64]]:
    numerators, denominators = np.sum([parts[code] for code in codes], axis=0)[:, :, chosen]
    metrics = [metric for (_, metric), taken in zip(split.columns, chosen, strict=True) if taken]
    with np.errstate(invalid="ignore", divide="ignore"):
        return metrics, numerators / denominators


def _interval(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """[2, ...] the 2.5 and 97.5 percentiles of the resamples [b, ...] that have a value."""
    filled = np.where(np.isnan(drawn).all(axis=0), 0.0, drawn)
    return np.nanpercentile(filled, [2.5, 97.5], axis=0)
