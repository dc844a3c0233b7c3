"""The features that a tower may be declared to have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from recbatch.config.sections import Section


class IdFeature(Section):
    """The id of the user or item itself: StringLookup and an embedding."""

    kind: Literal["id"]
    dim: int = Field(32, gt=0)
    """Width of the embedding."""
    min_count: int = Field(1, ge=1)
    """Ids with fewer positives in training share the vectors of the unknown ids."""
    oov_buckets: int = Field(1, ge=1)
    """Number of vectors that the unknown ids share."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the training examples that do without the id, so that the other features learn to stand in for it."""


class CategoryFeature(Section):
    """One value out of a vocabulary learnt from the data."""

    kind: Literal["category"]
    column: str
    """Column of the users or items table, or for the query tower one of `inputs.interactions.context`."""
    dim: int = Field(8, gt=0)
    """Width of the embedding."""
    min_count: int = Field(1, ge=1)
    """Rarer values share the vectors of the unknown values."""
    oov_buckets: int = Field(1, ge=1)
    """Number of vectors that the unknown values share."""


class MultiCategoryFeature(Section):
    """Several values per row, in a list column or in text with a separator; their embeddings are averaged."""

    kind: Literal["multi_category"]
    column: str
    """Column of the users or items table, or for the query tower one of `inputs.interactions.context`."""
    separator: str = "|"
    """What stands between the values of a text column; a list column needs none."""
    dim: int = Field(8, gt=0)
    """Width of the embedding."""
    min_count: int = Field(1, ge=1)
    """Rarer values count as unknown."""


class TextFeature(Section):
    """Free text: TextVectorization and the average of the tokens' embeddings."""

    kind: Literal["text"]
    column: str
    """Column of the users or items table, or for the query tower one of `inputs.interactions.context`."""
    dim: int = Field(32, gt=0)
    """Width of the embedding."""
    max_tokens: int = Field(10_000, gt=1)
    """Size of the vocabulary: the most frequent words."""


class NumberFeature(Section):
    """A number, normalised to mean 0 and variance 1. A null becomes the mean; a row with NaN or infinity is put aside
    (see `inputs.max_quarantined_share`), for it is no number: write null where there is no value."""

    kind: Literal["number"]
    column: str
    """Column of the users or items table, or for the query tower one of `inputs.interactions.context`."""


class TimestampFeature(Section):
    """The time of the event (at night: the as-of time, clamped to the range seen in training). Query tower only."""

    kind: Literal["timestamp"]
    bins: int = Field(0, ge=0)
    """Embed the time cut into this many equal bins: 0 (not) or at least 2."""
    dim: int = Field(32, gt=0)
    """Width of the embedding of the bin, of the hour and of the weekday, each."""
    normalized: bool = True
    """Use the time as a number, normalised to mean 0 and variance 1."""
    hour_of_day: bool = False
    """Embed the hour of the day (UTC)."""
    weekday: bool = False
    """Embed the day of the week."""

    @model_validator(mode="after")
    def _says_something(self) -> TimestampFeature:
        if self.bins == 1:
            raise ValueError("bins is 1, which tells no time from another; say 0 or at least 2")
        if not (self.bins or self.normalized or self.hour_of_day or self.weekday):
            raise ValueError(
                "nothing of the time is used: bins is 0, and normalized, hour_of_day and weekday are off; set one of "
                "them, or remove the feature"
            )
        return self


class HistoryFeature(Section):
    """The user's latest positive items, as one vector. Query tower only. A target is never in its own history.

    A tower may have several, told apart by `name`, such as one that reads the last items and one that pools all.
    """

    kind: Literal["history"]
    name: str | None = Field(None, min_length=1)
    """Needed where a tower has more than one."""
    length: int = Field(50, gt=0)
    """How many items, at most."""
    dim: int = Field(32, gt=0)
    """Width of the items' embedding."""
    pooling: Literal["mean", "sqrt", "recency", "gru"] = "sqrt"
    """How the items become one vector. `mean`, `sqrt`: the sum of their embeddings, divided by their number or by its
    square root. `recency`: the sum, each embedding multiplied by a learnt vector for its place from the newest on,
    and by one for the time before the newest. `gru`: the last state of a GRU that reads them from the oldest on."""
    units: int | None = Field(None, gt=0)
    """Width of the GRU's state (`pooling: gru`); `dim` if not given."""
    time_gate: bool = True
    """Weigh items by the time before the newest one, not by their place alone (`pooling: recency`). Off without
    timestamps."""
    embedding: Literal["own", "history", "candidate"] = "own"
    """Which embedding the items have: one of its own, that of the tower's first history feature, or that of the
    candidate tower's id feature. A shared one has the same `dim` there."""
    train_on: Literal["before", "others"] = "before"
    """What a training example sees: the positives before it, or a random choice of all the user's others. Without
    timestamps it is always the others."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Mean share of the history that a training example does not see; drawn for each from 0 to twice this. Above 0.5
    the mean is less, for no more than all can be hidden."""

    @model_validator(mode="after")
    def _belongs_to_pooling(self) -> HistoryFeature:
        if self.units is not None and self.pooling != "gru":
            raise ValueError(f"units is for pooling: gru, but pooling is {self.pooling}; remove units")
        if not self.time_gate and self.pooling != "recency":
            raise ValueError(f"time_gate is for pooling: recency, but pooling is {self.pooling}; remove time_gate")
        return self

    @property
    def width(self) -> int:
        """Width of its vector."""
        return self.units or self.dim


Feature = Annotated[
    IdFeature
    | CategoryFeature
    | MultiCategoryFeature
    | TextFeature
    | NumberFeature
    | TimestampFeature
    | HistoryFeature,
    Field(discriminator="kind"),
]


def feature_name(feature: Feature) -> str:
    """A name that is unique in a tower: the kind, and the column or name where there is one."""
    addition = getattr(feature, "column", None) or getattr(feature, "name", None)
    return feature.kind if addition is None else f"{feature.kind}:{addition}"


def history_mistakes(query: Sequence[Feature], candidate: Sequence[Feature]) -> Iterator[str]:
    """What is wrong with the history features of a query tower together, and with the embeddings that they share."""
    first: HistoryFeature | None = None
    ids = next((feature for feature in candidate if isinstance(feature, IdFeature)), None)
    for place, feature in enumerate(query):
        if not isinstance(feature, HistoryFeature):
            continue
        here = f"query.features.{place}"
        if first is None and feature.embedding == "history":
            yield f"{here}: embedding is history, but it is the tower's first history feature; say own or candidate"
        if feature.embedding == "candidate" and ids is None:
            yield f"{here}: embedding is candidate, but the candidate tower has no id feature; add one or say own"
        shared = {"own": None, "history": first, "candidate": ids}[feature.embedding]
        if shared is not None and shared.dim != feature.dim:
            yield f"{here}: dim is {feature.dim}, but the embedding that it shares is {shared.dim} wide; set it to that"
        for key in ("train_on", "dropout"):
            if first is not None and getattr(feature, key) != getattr(first, key):
                yield (
                    f"{here}: {key} is {getattr(feature, key)}, but {getattr(first, key)} in the tower's first history "
                    f"feature; what a training example sees is the same for all of them"
                )
        first = first or feature
