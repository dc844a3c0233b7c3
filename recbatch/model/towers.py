"""A tower: its features' vectors are concatenated and go through layers to one vector per row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from recbatch.config.models import Entity, Feature, HistoryFeature, Model, feature_name
from recbatch.config.models import Tower as TowerConfig
from recbatch.errors import InputError
from recbatch.model.data import Events, Prepared
from recbatch.model.features import LinearLayer, stable_seed
from recbatch.model.learning import CandidateIds, Learnt, TrainingRows, learn_features


class TowerModel(keras.Model):
    """Encoded features -> vectors [n, width].

    Attributes:
        entity: what it embeds, ``user`` or ``item``.
        config: the tower as declared.
        linear: its half of the linear head, or None. A fit goes without; a solved one is attached when it is done.
        temperature: what the loss divides scores by, the same of both towers; a fit may change it.
        learnt: its feature layers, where their values come from, and the features that are off.
    """

    def __init__(
        self,
        config: TowerConfig,
        model: Model,
        entity: Entity,
        learnt: Learnt,
        seed: int,
        temperature: tf.Variable,
        *,
        is_candidate: bool,
    ) -> None:
        super().__init__()
        self.entity: Entity = entity
        self.config = config
        self.learnt = learnt
        self.feature_layers = learnt.layers
        self._normalize = model.normalize
        widths = {name: layer.width for name, layer in learnt.layers.items()}
        self.adapters = {
            name: _dense(width, model.dim, stable_seed(seed, "adapter", name), use_bias=False)
            for name, width in widths.items()
            if config.combine == "sum" and width != model.dim
        }
        width = model.dim if config.combine == "sum" else sum(widths.values())
        self.dense = []
        for place, units in enumerate([*config.layers, *([model.dim] if config.projection else [])]):
            activation = "relu" if place < len(config.layers) else None
            self.dense.append(_dense(width, units, stable_seed(seed, "dense", place), activation=activation))
            width = units
        self.linear: LinearLayer | None = None
        self._dim = model.dim
        self._bias = None
        if model.item_bias and is_candidate:
            ids = learnt.layers["id"].embedding.input_dim
            self._bias = self.add_weight("bias", [ids], initializer="zeros")
        self._one_more = model.item_bias
        self.temperature = temperature
        if width != model.dim:
            raise InputError(
                f"the {entity} tower without a projection is {width} wide, but model.dim is {model.dim}"
                + "".join(f"; {name} is off: {reason}" for name, reason in learnt.off.items())
                + "; set the tower's projection to true"
            )

    def call(self, encoded: Mapping[str, Any], seed: tf.Tensor | None = None) -> tf.Tensor:
        """Vectors [n, width] of encoded features; ``seed`` int32 [2], in training only, draws what is dropped out."""
        parts = {
            name: layer(encoded[self.learnt.input_of(name)], seed=seed) for name, layer in self.learnt.layers.items()
        }
        if self.config.combine == "sum":
            vectors = tf.add_n(
                [self.adapters[name](part) if name in self.adapters else part for name, part in parts.items()]
            )
        else:
            vectors = tf.concat(list(parts.values()), axis=1)
        for dense in self.dense:
            vectors = dense(vectors)
        vectors = tf.math.l2_normalize(vectors, axis=1) if self._normalize else vectors
        if self.linear is not None:
            vectors = tf.concat([vectors, self.linear(encoded)], axis=1)
        if not self._one_more:
            return vectors
        last = tf.ones([tf.shape(vectors)[0]])
        if self._bias is not None:  # so scaled that it is added to the scores as the loss sees them
            last = self.temperature * tf.gather(self._bias, encoded["id"])
        return tf.concat([vectors, last[:, None]], axis=1)

    def known(self, encoded: Mapping[str, Any]) -> tf.Tensor:
        """[n] bool: some feature says something that training has seen; without that a row is cold."""
        layers = self.learnt.layers.items()
        return tf.reduce_any([layer.known(encoded[self.learnt.input_of(name)]) for name, layer in layers], axis=0)

    @property
    def width(self) -> int:
        """Width of its vectors: ``model.dim``, then that of the linear head if there is one, and one more where the
        model has an item bias."""
        return self._dim + (0 if self.linear is None else self.linear.width) + self._one_more

    @property
    def item_bias(self) -> tf.Variable | None:
        """What is added to an item's scores, by the rows of the id feature's embedding; None without an item bias."""
        return self._bias

    @property
    def feature_configs(self) -> dict[str, Feature]:
        """The declared features by name, those that are off included."""
        return {feature_name(feature): feature for feature in self.config.features}

    @property
    def history_feature(self) -> HistoryFeature | None:
        """What batches draw for the history features: the longest of them, with the ``train_on`` that is in force."""
        return self.learnt.history

    @property
    def per_event(self) -> bool:
        """Whether two events of one user may have different vectors: by time, context or the history before each."""
        kinds = {source.kind for source in self.learnt.sources.values()}
        return bool(kinds & {"time", "context"}) or (
            self.history_feature is not None and self.history_feature.train_on == "before"
        )


def _dense(width: int, units: int, seed: int, **options: Any) -> keras.layers.Dense:
    layer = keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed=seed), **options)
    layer.build((None, width))
    return layer


def build_towers(model: Model, prepared: Prepared, events: Events) -> tuple[TowerModel, TowerModel]:
    """(query, candidate) towers; vocabularies and statistics come from ``events`` and the entities in them only.

    Raises:
        InputError: a column is missing, no feature of a tower is left, or the widths do not fit.
    """
    seed = model.training.seed
    items = TrainingRows(prepared.items, events.items, prepared.items, None)
    candidates = learn_features(model.candidate.features, items, "candidate", seed)
    rows = TrainingRows(prepared.users, events.users, prepared.items, events)
    ids = CandidateIds.of(model.candidate.features, candidates)
    queries = learn_features(model.query.features, rows, "query", seed, ids)
    entity, seeds = model.query_entity, [stable_seed(seed, tower) for tower in "qc"]
    temperature = tf.Variable(model.temperature, trainable=False, dtype=tf.float32, name="temperature")
    return (
        TowerModel(model.query, model, entity, queries, seeds[0], temperature, is_candidate=False),
        TowerModel(model.candidate, model, "item", candidates, seeds[1], temperature, is_candidate=True),
    )


def trainable_variables(*towers: TowerModel) -> list[tf.Variable]:
    """The weights of towers, each once: an item embedding that both share is one weight."""
    return list({variable.ref(): variable for tower in towers for variable in tower.trainable_variables}.values())
