"""The configuration as typed, frozen models: the one place where a key, its type and its default are said.

Unknown keys are errors everywhere. Reading YAML, overriding keys and turning validation errors into sentences is in
:mod:`recbatch.config.load`; which columns a model needs from which input is in :mod:`recbatch.config.columns`.
"""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TABLES = ("user2item", "item2item", "user2user", "item2user")
TableName = Literal["user2item", "item2item", "user2user", "item2user"]
Entity = Literal["user", "item"]


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- inputs -------------------------------------------------------------------------------------------------------


class InteractionColumns(Section):
    """Which column of the files holds what. Only the two ids are needed."""

    user_id: str = "user_id"
    item_id: str = "item_id"
    timestamp: str | None = None
    weight: str | None = None
    event_type: str | None = None


class InteractionsInput(Section):
    """Events between users and items: Parquet files, folders (Hive-partitioned ones too) or globs."""

    path: str | list[str]
    columns: InteractionColumns = InteractionColumns()
    context: list[str] = []
    """Further columns that query features may use; at night a user's newest known value is used."""
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso"] | None = None
    """Unit of an integer or text timestamp column; a column of an Arrow timestamp or date type carries its own."""


class EntityInput(Section):
    """A table of users or of items: an id and any feature columns."""

    path: str | list[str]
    id: str = "id"
    label: str | None = None
    """Column with a readable name (a title), shown by ``recbatch show`` and by previews."""


class Inputs(Section):
    """Where the data is. Without a users or items table the ids seen in the interactions are the table."""

    interactions: InteractionsInput
    users: EntityInput | None = None
    items: EntityInput | None = None
    unknown_users: Literal["drop", "keep", "fail"] = "drop"
    """Interactions whose user is not in the users table: not used, or the user joins the table, or an error."""
    unknown_items: Literal["drop", "keep", "fail"] = "drop"
    max_quarantined_share: float = Field(0.01, ge=0, le=1)
    """The run fails when more than this share of the rows of an input had to be put aside."""


class EventFilter(Section):
    """Which interactions count: those of at least a weight, and of some event types. By default all."""

    min_weight: float | None = None
    event_types: list[str] | None = None


# --- model --------------------------------------------------------------------------------------------------------


class IdFeature(Section):
    """The id of the user or item itself: StringLookup and an embedding."""

    kind: Literal["id"]
    dim: int = Field(32, gt=0)
    min_count: int = Field(1, ge=1)
    oov_buckets: int = Field(1, ge=1)


class CategoryFeature(Section):
    """One value out of a vocabulary learnt from the data."""

    kind: Literal["category"]
    column: str
    dim: int = Field(8, gt=0)
    min_count: int = Field(1, ge=1)
    oov_buckets: int = Field(1, ge=1)


class MultiCategoryFeature(Section):
    """Several values per row, in a list column or in text with a separator; their embeddings are averaged."""

    kind: Literal["multi_category"]
    column: str
    separator: str = "|"
    dim: int = Field(8, gt=0)
    min_count: int = Field(1, ge=1)


class TextFeature(Section):
    """Free text: TextVectorization and the average of the tokens' embeddings."""

    kind: Literal["text"]
    column: str
    dim: int = Field(32, gt=0)
    max_tokens: int = Field(10_000, gt=1)


class NumberFeature(Section):
    """A number, normalised to mean 0 and variance 1; a null becomes the mean."""

    kind: Literal["number"]
    column: str


class TimestampFeature(Section):
    """The time of the event (at night: the as-of time, clamped to the range seen in training). Query tower only."""

    kind: Literal["timestamp"]
    bins: int = Field(0, ge=0)
    """Embed the time cut into this many equal bins (0: not)."""
    dim: int = Field(32, gt=0)
    normalized: bool = True
    hour_of_day: bool = False
    weekday: bool = False


class HistoryFeature(Section):
    """The user's latest positive items before the event, embedded and pooled. Query tower only."""

    kind: Literal["history"]
    length: int = Field(50, gt=0)
    dim: int = Field(32, gt=0)
    pooling: Literal["mean", "sqrt"] = "sqrt"
    dropout: float = Field(0.0, ge=0, lt=1)


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


class Tower(Section):
    """Features are concatenated, go through the dense layers (ReLU) and, if asked, a linear projection."""

    features: list[Feature] = Field(min_length=1)
    layers: list[Annotated[int, Field(gt=0)]] = []
    projection: bool = True
    """End with a linear layer to ``model.dim``. Without it the last width must be ``model.dim`` already."""

    @property
    def width(self) -> int | None:
        """Width before the projection, or None where only the data tells (numbers and times are narrow)."""
        if self.layers:
            return self.layers[-1]
        if all(feature.kind in ("id", "category", "multi_category", "text", "history") for feature in self.features):
            return sum(feature.dim for feature in self.features if not isinstance(feature, NumberFeature))
        return None


class Heldout(Section):
    """The events kept from the first fit to measure it: the newest ones, or a random share of every user's."""

    split: Literal["time", "random"] = "time"
    share: float = Field(0.1, gt=0, lt=1)


class EarlyStopping(Section):
    """Stop when the held-out recall@100 has not risen for ``patience`` evaluations; keep the best step."""

    patience: int = Field(3, gt=0)
    every_epochs: int = Field(1, gt=0)


class Training(Section):
    """How the towers are fitted. Steps and metrics come from a fit without the held-out events; see ``refit``."""

    optimizer: Literal["adagrad", "adam"] = "adam"
    learning_rate: float = Field(0.003, gt=0)
    batch_size: int = Field(1024, gt=0)
    epochs: int = Field(10, gt=0)
    logq: bool = True
    """Correct the in-batch softmax by the items' sampling probability (Yi et al., RecSys 2019)."""
    remove_accidental_hits: bool = False
    heldout: Heldout = Heldout()
    early_stopping: EarlyStopping | None = EarlyStopping()
    refit: bool = True
    """Export a model fitted for the same number of steps on all positives up to as-of."""
    seed: int = Field(42, ge=0)


class Retriever(Section):
    """The exported ``retriever/``: raw user features in, top-k item ids and scores out."""

    layer: Literal["brute_force", "scann"] = "brute_force"
    k: int = Field(100, gt=0)


class Model(Section):
    """Two towers of one width, and how they are trained."""

    dim: int = Field(32, gt=0)
    normalize: bool = False
    """L2-normalise both towers' outputs."""
    temperature: float = Field(1.0, gt=0)
    """Scores are divided by it in the softmax (not in the tables)."""
    query: Tower = Tower(features=[IdFeature(kind="id")])
    candidate: Tower = Tower(features=[IdFeature(kind="id")])
    training: Training = Training()
    retriever: Retriever = Retriever()

    @model_validator(mode="after")
    def _towers_fit(self) -> Model:
        for name, tower in (("query", self.query), ("candidate", self.candidate)):
            if not tower.projection and tower.width is not None and tower.width != self.dim:
                raise ValueError(
                    f"{name}: without a projection the tower ends {tower.width} wide, but model.dim is {self.dim}; "
                    f"set {name}.projection: true or make the last width {self.dim}"
                )
        for feature in self.candidate.features:
            if feature.kind in ("timestamp", "history"):
                raise ValueError(f"candidate: a {feature.kind} feature belongs to the query tower; move it there")
        for name, tower in (("query", self.query), ("candidate", self.candidate)):
            names = [feature_name(feature) for feature in tower.features]
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise ValueError(f"{name}: feature {sorted(twice)[0]} is declared twice; remove one")
        return self


def feature_name(feature: Feature) -> str:
    """A name that is unique in a tower: the kind, and the column where there is one."""
    column = getattr(feature, "column", None)
    return feature.kind if column is None else f"{feature.kind}:{column}"


# --- tables and run -----------------------------------------------------------------------------------------------


class Table(Section):
    """One of the four tables."""

    enabled: bool = True
    k: int = Field(100, gt=0)
    similarity: Literal["dot", "cosine"]
    exclude_seen: bool = False
    exclude_self: bool = False
    min_recall: float = Field(0.95, gt=0, le=1)
    """Least share of the exact top-k that an approximate index must find."""
    model: str | None = None
    """URI of another model bundle for this table; it then publishes its own embeddings beside it."""


class CrossTable(Table):
    """user2item and item2user: ranked by the model's own score, without what was seen."""

    similarity: Literal["dot", "cosine"] = "dot"
    exclude_seen: bool = True
    exclude_self: Literal[False] = False


class SelfTable(Table):
    """item2item and user2user: ranked by cosine, without the query itself."""

    similarity: Literal["dot", "cosine"] = "cosine"
    exclude_seen: Literal[False] = False
    exclude_self: bool = True


class Tables(Section):
    """The four tables and their settings."""

    user2item: CrossTable = CrossTable()
    item2item: SelfTable = SelfTable()
    user2user: SelfTable = SelfTable()
    item2user: CrossTable = CrossTable()

    def enabled(self) -> dict[str, Table]:
        """The tables that are on, in their fixed order."""
        return {name: getattr(self, name) for name in TABLES if getattr(self, name).enabled}


class Index(Section):
    """How neighbours are searched: ``auto`` takes exact search where that is cheaper than an approximate index."""

    kind: Literal["auto", "exact", "scann"] = "auto"


class Run(Section):
    """How the work is cut. None of these changes which candidates are recommended."""

    slice_rows: int = Field(1_000_000, gt=0)
    """Input rows read by one work item (at least one row group of a file)."""
    range_ids: int = Field(50_000, gt=0)
    """Users (or items) in one range, about: the unit of embedding, searching and writing."""
    range_interactions: int = Field(5_000_000, gt=0)
    """Interactions in one range, at most about (one id is never split)."""
    max_invalid_vector_share: float = Field(0.01, ge=0, le=1)
    """The night fails when more than this share of the ids gets a vector that is NaN, infinite or (cosine) zero."""
    allow_future_model: bool = False
    """Let a backfill use a model that was trained on events after the date."""


class Config(Section):
    """One night's configuration."""

    inputs: Inputs
    time_zone: str = "UTC"
    positives: EventFilter = EventFilter()
    """What trains the model and makes up a user's history."""
    seen: EventFilter = EventFilter()
    """What counts as already seen and is left out of user2item and item2user."""
    model: Model = Model()
    tables: Tables = Tables()
    index: Index = Index()
    run: Run = Run()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("not a time zone of the IANA database; use a name such as UTC or Europe/Berlin")
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which a date begins and ends."""
        return ZoneInfo(self.time_zone)
