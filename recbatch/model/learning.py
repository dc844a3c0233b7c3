"""What the features of a tower learn from the training rows: vocabularies, means, ranges. Only from these rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray

from recbatch.config import models as config
from recbatch.errors import InputError
from recbatch.model.columns import one_array, string_tensor, vocabulary
from recbatch.model.data import Events
from recbatch.model.features import (
    FeatureLayer,
    HistoryLayer,
    ItemTable,
    LookupLayer,
    MultiCategoryLayer,
    NumberLayer,
    TextLayer,
    TimestampLayer,
    history_layer,
    stable_seed,
    standardized,
)

_LONGEST_LIST = 256  # values or words of one row that are used at most: one odd row must not widen all of them


@dataclass(frozen=True)
class Source:
    """Where a feature's values come from: ``entity`` (the users or items table), ``context`` (the event), ``time`` or
    ``history``; and the column, named as in the clean tables and the profiles."""

    kind: str
    column: str | None = None


@dataclass(frozen=True)
class TrainingRows:
    """The rows that a tower learns from.

    Attributes:
        entities: the users or items table.
        rows: [n] row of each training event in it.
        items: the items table, for the history.
        events: the events; None for the candidate tower, which sees no event.
    """

    entities: pa.Table
    rows: NDArray[np.int32]
    items: pa.Table
    events: Events | None

    def counts(self) -> NDArray[np.int64]:
        """[num_entities] number of events of each."""
        return np.bincount(self.rows, minlength=self.entities.num_rows)

    def source(self, column: str) -> Source:
        """Context first: what the config declares as context lies in the interactions.

        Raises:
            InputError: the data has no such column.
        """
        if self.events is not None and f"context:{column}" in self.events.context.column_names:
            return Source("context", f"context:{column}")
        if f"feature:{column}" in self.entities.column_names:
            return Source("entity", f"feature:{column}")
        raise InputError(f"a model feature reads column {column!r}, which the data does not have; remove the feature")

    def values(self, source: Source) -> pa.Array:
        """The training values: of each event (context), or of each entity that has an event."""
        assert source.column is not None
        if source.kind == "context":
            assert self.events is not None
            return one_array(self.events.context[source.column])
        return one_array(self.entities[source.column].take(pa.array(np.unique(self.rows))))


@dataclass
class Learnt:
    """Layers and sources by feature name; features that are off, with the reason; remarks on those that are on.

    ``history`` is what batches must draw for the history features: the longest of them, with the ``train_on`` that is
    in force; None without any.
    """

    layers: dict[str, FeatureLayer] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    off: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    history: config.HistoryFeature | None = None

    def input_of(self, name: str) -> str:
        """Under which name a feature finds its encoded form: all history features read the same."""
        return "history" if self.sources[name].kind == "history" else name

    @property
    def needs_times(self) -> bool:
        """Whether a history layer asks for the items' ages."""
        return any(isinstance(layer, HistoryLayer) and layer.needs_times for layer in self.layers.values())


@dataclass(frozen=True)
class CandidateIds:
    """The candidate tower's id feature, whose embedding a history may share."""

    min_count: int
    layer: LookupLayer

    @classmethod
    def of(cls, features: Sequence[config.Feature], learnt: Learnt) -> CandidateIds | None:
        """That of a fitted candidate tower; None if it has no id feature."""
        layer = learnt.layers.get("id")
        counts = [feature.min_count for feature in features if isinstance(feature, config.IdFeature)]
        return cls(counts[0], layer) if isinstance(layer, LookupLayer) else None


def learn_features(
    features: list[config.Feature],
    rows: TrainingRows,
    tower: str,
    seed: int,
    candidate_ids: CandidateIds | None = None,
) -> Learnt:
    """Fit every feature of a tower; ``candidate_ids`` are for histories that share their embedding.

    Raises:
        InputError: a column is missing, or no feature is left.
    """
    learnt = Learnt()
    for feature in features:
        name = config.feature_name(feature)
        own_seed = stable_seed(seed, tower, name)
        match feature:
            case config.IdFeature():
                values = vocabulary(rows.entities["id"], rows.counts(), min_count=max(1, feature.min_count))
                learnt.sources[name] = Source("entity", "id")
                learnt.layers[name] = LookupLayer(values, feature.dim, feature.oov_buckets, feature.dropout, own_seed)
            case config.TimestampFeature():
                if rows.events is None or rows.events.times_us is None:
                    learnt.off[name] = "the interactions have no timestamps"
                    continue
                learnt.sources[name] = Source("time")
                learnt.layers[name] = TimestampLayer(feature, rows.events.times_us, own_seed)
            case config.HistoryFeature():
                if learnt.history is None:  # all of them at once
                    _learn_histories(features, rows, learnt, (seed, tower), candidate_ids)
            case _:
                source = rows.source(feature.column)
                layer = _from_column(feature, rows.values(source), own_seed)
                if layer is None:
                    learnt.off[name] = f"column {feature.column!r} has no values in the training data"
                    continue
                learnt.sources[name], learnt.layers[name] = source, layer
    if not learnt.layers:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in learnt.off.items())
        raise InputError(f"no feature of the {tower} tower is left ({reasons}); give it an id feature")
    return learnt


def _learn_histories(
    features: Sequence[config.Feature],
    rows: TrainingRows,
    learnt: Learnt,
    seed: tuple[int, str],
    candidate_ids: CandidateIds | None,
) -> None:
    """The history features: they have one vocabulary and one history to read, the longest that one of them wants."""
    histories = [feature for feature in features if isinstance(feature, config.HistoryFeature)]
    assert rows.events is not None
    counts = np.bincount(rows.events.items, minlength=rows.items.num_rows)
    shared = candidate_ids if any(feature.embedding == "candidate" for feature in histories) else None
    values = vocabulary(rows.items["id"], counts, min_count=shared.min_count if shared else 1)
    longest = max(feature.length for feature in histories)
    timed, first = rows.events.times_us is not None, None
    others = histories[0].train_on == "others" or not any_before(rows.events)
    for feature in histories:
        name = config.feature_name(feature)
        table: ItemTable | None = None
        if feature.embedding == "candidate":
            assert shared is not None, "checked with the configuration"
            table = ItemTable.of_ids(shared.layer)
        elif feature.embedding == "history":
            assert first is not None, "checked with the configuration"
            table = first.table
        layer = history_layer(feature, values, stable_seed(*seed, name), table, longest, timed=timed)
        first = first or layer
        learnt.sources[name], learnt.layers[name] = Source("history"), layer
        remarks = []
        if others and feature.train_on == "before":
            remarks.append("trained on the user's other positives: no positive lies before another")
        if feature.pooling == "recency" and feature.time_gate and not timed:
            remarks.append("the time gate is off: the interactions have no timestamps")
        if remarks:
            learnt.remarks[name] = "; ".join(remarks)
    drawn = {"length": longest, "train_on": "others" if others else "before"}
    learnt.history = histories[0].model_copy(update=drawn)


def any_before(events: Events) -> bool:
    """Whether some event of a user is later than another of the same user."""
    if events.times_us is None:
        return False
    return bool(((np.diff(events.users) == 0) & (np.diff(events.times_us) > 0)).any())


def _from_column(
    feature: config.CategoryFeature | config.MultiCategoryFeature | config.TextFeature | config.NumberFeature,
    values: pa.Array,
    seed: int,
) -> FeatureLayer | None:
    """The fitted layer, or None where the column says nothing."""
    match feature:
        case config.NumberFeature():
            numbers = values.cast(pa.float64()).drop_null().to_numpy()
            return NumberLayer(float(numbers.mean()), float(numbers.var())) if len(numbers) else None
        case config.CategoryFeature():
            found = vocabulary(values, min_count=feature.min_count)
            return LookupLayer(found, feature.dim, feature.oov_buckets, 0.0, seed) if found else None
        case config.MultiCategoryFeature():
            found = vocabulary(pc.list_flatten(values), min_count=feature.min_count)
            length = _longest(pc.list_value_length(values).fill_null(0).to_numpy())
            return MultiCategoryLayer(found, length, feature.dim, seed) if found else None
        case config.TextFeature():
            words, lengths = _words(values)
            found = vocabulary(words, most=feature.max_tokens)
            return TextLayer(found, _longest(lengths), feature.dim, seed) if found else None


def _longest(lengths: NDArray) -> int:
    return int(min(_LONGEST_LIST, max(1, lengths.max(initial=0))))


def _words(texts: pa.Array) -> tuple[pa.Array, NDArray]:
    """(all words, number of words of each text), cut as the text layer cuts them."""
    ragged = tf.strings.split(standardized(string_tensor(texts)))
    return pa.array(ragged.flat_values.numpy(), pa.binary()).cast(pa.string()), ragged.row_lengths().numpy()
