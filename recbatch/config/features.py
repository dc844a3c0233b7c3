"""The features that a tower may be declared to have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

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
    """A number, normalised to mean 0 and variance 1; a null becomes the mean."""

    kind: Literal["number"]
    column: str
    """Column of the users or items table, or for the query tower one of `inputs.interactions.context`."""


class TimestampFeature(Section):
    """The time of the event (at night: the as-of time, clamped to the range seen in training). Query tower only."""

    kind: Literal["timestamp"]
    bins: int = Field(0, ge=0)
    """Embed the time cut into this many equal bins (0: not)."""
    dim: int = Field(32, gt=0)
    """Width of the embedding of the bin, of the hour and of the weekday, each."""
    normalized: bool = True
    """Use the time as a number, normalised to mean 0 and variance 1."""
    hour_of_day: bool = False
    """Embed the hour of the day (UTC)."""
    weekday: bool = False
    """Embed the day of the week."""


class HistoryFeature(Section):
    """The user's latest positive items, embedded and pooled. Query tower only. A target is never in its own history."""

    kind: Literal["history"]
    length: int = Field(50, gt=0)
    """How many items, at most."""
    dim: int = Field(32, gt=0)
    """Width of the items' embedding."""
    pooling: Literal["mean", "sqrt"] = "sqrt"
    """The sum of the embeddings is divided by the number of items (`mean`) or by its square root (`sqrt`)."""
    train_on: Literal["before", "others"] = "before"
    """What a training example sees: the positives before it, or a random choice of all the user's others. Without
    timestamps it is always the others."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Mean share of the history that a training example does not see; drawn for each from 0 to twice this."""


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
    """A name that is unique in a tower: the kind, and the column where there is one."""
    column = getattr(feature, "column", None)
    return feature.kind if column is None else f"{feature.kind}:{column}"
