"""What a fit makes smaller: the cross entropy of each query's targets among a batch's candidates."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_recommenders as tfrs

_NEVER = -1e9


def sampled_softmax(
    queries: tf.Tensor,
    candidates: tf.Tensor,
    columns: tf.Tensor,
    query_of: tf.Tensor,
    weights: tf.Tensor,
    shown: tf.Tensor,
    *,
    log_inclusion: tf.Tensor | None = None,
    shown_offset: float | None = None,
    hard_negatives: int | None = None,
) -> tf.Tensor:
    """Weighted mean over the targets of ``-log softmax(score)[target]``.

    A query with several targets is scored once: its cross entropy is that of a multinomial (Liang et al., WWW 2018,
    "Variational autoencoders for collaborative filtering", eq. 2), so another target of the same query stays in the
    denominator.

    Args:
        queries: [q, d], divided by the temperature.
        candidates: [c, d].
        columns: [e] the candidate of each target, with ``query_of`` [e] its query and ``weights`` [e].
        query_of: [e].
        weights: [e].
        shown: [s, 2] pairs (query, candidate) of what the query is shown.
        log_inclusion: [c] logarithm of the probability that the candidate was drawn; subtracted from its scores, so
            that the expected gradient is that of the softmax over all (Yi et al., RecSys 2019). None: all are there.
        shown_offset: added to the scores of what is shown: a positive one pushes it down as a margin does; None: it is
            left out of the denominator.
        hard_negatives: only so many negatives of each query count, those with the highest scores; None: all.

    Returns:
        A scalar.
    """
    scores = tf.matmul(queries, candidates, transpose_b=True)
    if log_inclusion is not None:
        scores -= log_inclusion
    pairs = tf.stack([tf.cast(query_of, tf.int64), tf.cast(columns, tf.int64)], axis=1)
    of_targets = tf.gather_nd(scores, pairs)
    if shown_offset != 0.0:
        offset = tf.fill([tf.shape(shown)[0]], _NEVER if shown_offset is None else shown_offset)
        scores += tf.scatter_nd(shown, offset, tf.shape(scores, tf.int64))
    if hard_negatives is None:
        denominators = tf.reduce_logsumexp(scores, axis=1)
    else:
        denominators = _hard_denominators(scores, of_targets, pairs, hard_negatives)
    losses = tf.gather(denominators, query_of) - of_targets
    return tf.reduce_sum(losses * weights) / tf.maximum(tf.reduce_sum(weights), 1e-9)


def in_batch_softmax(
    task: tfrs.tasks.Retrieval,
    queries: tf.Tensor,
    candidates: tf.Tensor,
    items: tf.Tensor,
    query_of: tf.Tensor,
    weights: tf.Tensor,
    shown: tf.Tensor | None,
    *,
    log_inclusion: tf.Tensor | None = None,
) -> tf.Tensor:
    """Weighted sum over the targets of ``-log softmax(score)[target]``, the other targets' items being the negatives.

    Args:
        task: of TensorFlow Recommenders; removes accidental hits and keeps hard negatives as it was told.
        queries: [e, d] the query of each target, divided by the temperature.
        candidates: [e, d] each target's item.
        items: [e] its row.
        query_of: [e] the number of the query of each target, with ``weights`` [e].
        weights: [e].
        shown: [s, 2] pairs (query, target) of what the query is shown and is therefore no negative to it; a row's own
            item stays wherever it occurs: whether it counts there is ``remove_accidental_hits``' matter. None: all are.
        log_inclusion: [e] logarithm of the probability that the item is in a batch, see :func:`sampled_softmax`.

    Returns:
        A scalar.
    """
    mask = None
    if shown is not None:
        size = tf.shape(items, tf.int64)[0]
        there = tf.scatter_nd(shown, tf.ones([tf.shape(shown)[0]], tf.int32), [size, size])
        mask = (tf.gather(there, query_of) == 0) | (items[:, None] == items[None, :])
    inclusion = None
    if log_inclusion is not None:
        # Only differences count in a softmax; TFRS clips at 1e-6, now that of the most frequent item.
        inclusion = tf.exp(log_inclusion - tf.reduce_max(log_inclusion))
    return task(
        queries,
        candidates,
        sample_weight=weights,
        candidate_sampling_probability=inclusion,
        candidate_ids=items,
        score_mask=mask,
        compute_metrics=False,
    )


def _hard_denominators(scores: tf.Tensor, of_targets: tf.Tensor, pairs: tf.Tensor, count: int) -> tf.Tensor:
    """[q] log-sum-exp over the targets and the ``count`` best negatives of each query."""
    is_target = tf.scatter_nd(pairs, tf.ones_like(of_targets), tf.shape(scores, tf.int64)) > 0
    negatives = tf.where(is_target, _NEVER, scores)
    best, _ = tf.math.top_k(negatives, tf.minimum(count, tf.shape(scores)[1]), sorted=False)
    targets = tf.where(is_target, scores, _NEVER)
    return tf.reduce_logsumexp(tf.concat([best, targets], axis=1), axis=1)
