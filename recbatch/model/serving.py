"""Towers and the retriever as plain SavedModels: raw columns in, by name; no Keras and no TFRS needed to load them."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras as keras
from numpy.typing import NDArray

from recbatch.config.models import Retriever
from recbatch.model.columns import HISTORY_TIMES, string_tensor
from recbatch.model.features import HistoryLayer
from recbatch.model.towers import TowerModel

_FEWEST_FOR_SCANN = 100  # below, exact search is as fast, and ScaNN's hashing cannot be trained on fewer than 16 points
_SEARCHED_SHARE, _SEARCHED_PER_K = 0.2, 10  # ScaNN looks at this share of the items, and at so many for each of the k
_SEARCHED_LEAST = 2_000  # and at so many at least: what it finds among few differs too much from build to build


@dataclass(frozen=True)
class TowerInput:
    """One input of a tower's signature.

    Attributes:
        name: its name: ``user_id`` or ``item_id``, ``history``, ``history_timestamps``, ``timestamp``, or the column's
            (with ``_`` for what a name cannot hold).
        dtype: ``string``, ``float32`` or ``int64``. A missing value is the empty string or NaN.
        length: the input is [n, length], padded with empty strings or zeros; None: [n].
        column: column of the profile, or None for the as-of time. All times are microseconds since the epoch.
        features: the features that read it.
    """

    name: str
    dtype: str
    length: int | None
    column: str | None
    features: tuple[str, ...]

    @property
    def spec(self) -> tf.TensorSpec:
        """Shape and type in the signature."""
        return tf.TensorSpec([None] if self.length is None else [None, self.length], self.dtype, name=self.name)


def tower_inputs(tower: TowerModel) -> list[TowerInput]:
    """The inputs of a tower's signature, in the order of the features; features of one column share one."""
    readers: dict[str, list[str]] = {}
    for name, source in tower.learnt.sources.items():
        readers.setdefault(source.column or source.kind, []).append(name)
    inputs: list[TowerInput] = []
    for key, features in readers.items():
        layer, source = tower.learnt.layers[features[0]], tower.learnt.sources[features[0]]
        wanted = {"id": f"{tower.entity}_id", "time": "timestamp"}.get(key, key.partition(":")[2] or key)
        name = _free_name(wanted, {used.name for used in inputs})
        column = None if source.kind == "time" else key
        inputs.append(TowerInput(name, layer.raw_dtype.name, layer.raw_length, column, tuple(features)))
        if key == "history" and tower.learnt.needs_times:
            name = _free_name(HISTORY_TIMES, {used.name for used in inputs})
            inputs.append(TowerInput(name, "int64", layer.raw_length, HISTORY_TIMES, tuple(features)))
    return inputs


def _free_name(wanted: str, taken: set[str]) -> str:
    """A name that TensorFlow accepts for an input."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", wanted)
    if not plain[:1].isalpha():
        plain = f"column_{plain}"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name


def embed_raw(tower: TowerModel, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """``embedding`` float32 [n, dim] and ``known`` bool [n] (False: cold) of raw inputs by name."""
    encoded: dict[str, Any] = {}
    by_column = {entry.column: raw[entry.name] for entry in tower_inputs(tower)}
    for name, source in tower.learnt.sources.items():
        layer, key = tower.learnt.layers[name], tower.learnt.input_of(name)
        if key in encoded:
            continue
        if isinstance(layer, HistoryLayer):
            encoded[key] = layer.lookup(by_column["history"], by_column.get(HISTORY_TIMES))
        else:
            encoded[key] = layer.lookup(by_column[source.column])
    return {"embedding": tower(encoded), "known": tower.known(encoded)}


def export_tower(tower: TowerModel, folder: Path) -> None:
    """Save a tower whose ``serving_default`` signature takes the inputs of :func:`tower_inputs` by name."""

    def serve(**raw: tf.Tensor) -> dict[str, tf.Tensor]:
        return embed_raw(tower, raw)

    _save(_holding(tower), serve, tower, folder)


def _save(module: tf.Module, serve: Callable[..., dict[str, tf.Tensor]], tower: TowerModel, folder: Path) -> None:
    specs = {entry.name: entry.spec for entry in tower_inputs(tower)}
    signature = tf.function(serve).get_concrete_function(**specs)
    with _quiet("absl", "tensorflow"):  # they remark, for every file, on its place and on how its captures are named
        options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
        tf.saved_model.save(module, str(folder), signatures=signature, options=options)


def _holding(tower: TowerModel) -> tf.Module:
    """A module that holds what a tower's functions use, and no Keras model that would be saved with all its methods."""
    module = tf.Module()
    module.weights = list(tower.weights)
    module.lookups = [layer.strings for layer in tower.learnt.layers.values() if hasattr(layer, "strings")]
    return module


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def export_retriever(
    query: TowerModel, ids: pa.Array, vectors: NDArray[np.float32], settings: Retriever, folder: Path
) -> dict[str, Any]:
    """Save one SavedModel that answers raw user features with the best items.

    Args:
        query: the query tower; its inputs are the retriever's.
        ids: [n] item ids.
        vectors: [n, dim] their vectors, all finite; n > 0.
        settings: the layer and k; k is at most n.
        folder: where to.

    Returns:
        What it is, for the manifest: layer, k, candidates, and the reason if it is not the layer asked for.

    The saved object can be called with a dictionary of inputs and gives (scores [m, k], ids [m, k]); its
    ``serving_default`` signature takes them by name and gives ``scores`` and ``ids``. Where ScaNN finds fewer than k,
    the rest has the id ``""`` and the score -inf.
    """
    k = min(settings.k, len(ids))
    approximate = settings.layer == "scann" and len(ids) >= _FEWEST_FOR_SCANN
    index = _scann(len(ids), k) if approximate else tfrs.layers.factorized_top_k.BruteForce(k=k)
    index.index(tf.constant(vectors), string_tensor(ids))

    def retrieve(raw: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        scores, found = index(embed_raw(query, raw)["embedding"])
        missing = tf.math.is_nan(scores)
        return tf.where(missing, -math.inf, scores), tf.where(missing, "", found)

    def serve(**raw: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, found = retrieve(raw)
        return {"scores": scores, "ids": found}

    specs = {entry.name: entry.spec for entry in tower_inputs(query)}
    module = _Callable(_holding(query), index, tf.function(retrieve, input_signature=[specs]))
    _save(module, serve, query, folder)
    made = {"layer": "scann" if approximate else "brute_force", "k": k, "candidates": len(ids)}
    if settings.layer == "scann" and not approximate:
        made["reason"] = f"fewer than {_FEWEST_FOR_SCANN} items: exact search"
    return made


class _Callable(tf.Module):
    """A SavedModel that can be called: what it holds, and what a call does."""

    def __init__(self, tower: tf.Module, index: keras.Model, call: tf.types.experimental.PolymorphicFunction) -> None:
        super().__init__()
        self.tower, self.index = tower, index
        self.__call__ = call


def _scann(count: int, k: int) -> tfrs.layers.factorized_top_k.ScaNN:
    leaves = max(1, round(math.sqrt(count)))
    share = min(1.0, max(_SEARCHED_SHARE, _SEARCHED_PER_K * k / count, _SEARCHED_LEAST / count))
    return tfrs.layers.factorized_top_k.ScaNN(
        k=k,
        num_leaves=leaves,
        num_leaves_to_search=math.ceil(leaves * share),
        num_reordering_candidates=min(count, 4 * k),
    )


def describe_inputs(tower: TowerModel) -> list[dict[str, Any]]:
    """The inputs for the manifest."""
    return [asdict(entry) for entry in tower_inputs(tower)]
