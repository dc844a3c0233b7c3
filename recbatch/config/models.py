"""The configuration as typed, frozen models: the one place where a key, its type and its default are said.

Unknown keys are errors everywhere. Towers are declared here, the other sections in :mod:`recbatch.config.features`,
:mod:`recbatch.config.training`, :mod:`recbatch.config.inputs` and :mod:`recbatch.config.outputs`; import all of them
from this module. Reading YAML, overriding keys and turning validation errors into sentences is in
:mod:`recbatch.config.load`; which columns a model needs from which input is in :mod:`recbatch.config.columns`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from recbatch.config.features import (
    CategoryFeature,
    Feature,
    HistoryFeature,
    IdFeature,
    MultiCategoryFeature,
    NumberFeature,
    TextFeature,
    TimestampFeature,
    feature_name,
    history_mistakes,
)
from recbatch.config.inputs import EntityInput, EventFilter, Inputs, InteractionColumns, InteractionsInput
from recbatch.config.outputs import TABLES, CrossTable, Gate, Index, Run, SelfTable, Table, TableName, Tables
from recbatch.config.sections import Section
from recbatch.config.training import EarlyStopping, Heldout, LinearHead, Training

__all__ = [
    "TABLES",
    "CategoryFeature",
    "Config",
    "CrossTable",
    "EarlyStopping",
    "Entity",
    "EntityInput",
    "EventFilter",
    "Feature",
    "Gate",
    "Heldout",
    "HistoryFeature",
    "IdFeature",
    "Index",
    "Inputs",
    "InteractionColumns",
    "InteractionsInput",
    "LinearHead",
    "Model",
    "MultiCategoryFeature",
    "NumberFeature",
    "Pairs",
    "Retriever",
    "Run",
    "SelfTable",
    "Table",
    "TableName",
    "Tables",
    "TextFeature",
    "TimestampFeature",
    "Tower",
    "Training",
    "feature_name",
]

Entity = Literal["user", "item"]


class Tower(Section):
    """Features are combined, go through the dense layers (ReLU) and, if asked, a linear projection."""

    features: list[Feature] = Field(min_length=1)
    """What the tower knows."""
    combine: Literal["concat", "sum"] = "concat"
    """Side by side, or added up: then a feature that is not `model.dim` wide goes through a linear layer of its own."""
    layers: list[Annotated[int, Field(gt=0)]] = []
    """Widths of the dense layers, first to last; none by default."""
    projection: bool = True
    """End with a linear layer to `model.dim`. Without it the last width must be `model.dim` already."""

    @property
    def width(self) -> int | None:
        """Width before the projection, or None where only the data tells (numbers and times are narrow)."""
        if self.layers:
            return self.layers[-1]
        if self.combine == "sum":
            return None
        if all(feature.kind in ("id", "category", "multi_category", "text", "history") for feature in self.features):
            return sum(getattr(feature, "width", 0) or getattr(feature, "dim", 0) for feature in self.features)
        return None


class Retriever(Section):
    """The exported `retriever/`, a SavedModel: raw user features in, top-k item ids and scores out."""

    layer: Literal["brute_force", "scann"] = "brute_force"
    """Exact search, or ScaNN's approximate one (whoever loads it needs `import scann` first)."""
    k: int = Field(100, gt=0)
    """Items in an answer."""


class Pairs(Section):
    """Train on pairs of items that a user took one after the other: then both towers are towers of items."""

    window: int = Field(3, gt=0)
    """Each positive is paired with so many of the user's next ones (without timestamps: with so many random others)."""


class Model(Section):
    """Two towers of one width, and how they are trained."""

    dim: int = Field(32, gt=0)
    """Width of the embeddings."""
    normalize: bool = False
    """L2-normalise both towers' outputs."""
    temperature: float = Field(1.0, gt=0)
    """Scores are divided by it in the softmax (not in the tables). See `model.training.final_temperature`."""
    item_bias: bool = False
    """Learn how much each item is liked whoever asks: one more coordinate of both embeddings, 1 in the users' and the
    item's bias in the items', so that search stays a dot product. item2item and user2user leave it out."""
    linear: LinearHead | None = None
    """Give both embeddings more coordinates whose dot product is the score of a linear item-to-item model, solved and
    not trained. It needs a history in the query tower and an id in the candidate tower."""
    query: Tower = Tower(features=[IdFeature(kind="id")])
    """The tower of the users. By default it knows the id alone."""
    candidate: Tower = Tower(features=[IdFeature(kind="id")])
    """The tower of the items. By default it knows the id alone."""
    training: Training = Training()
    retriever: Retriever = Retriever()
    pairs: Pairs | None = None
    """Make an item-to-item model, for `tables.item2item.model`: the query tower is of items, too, and reads their
    columns. Not for the main model of a night."""

    @property
    def query_entity(self) -> Entity:
        """What the query tower embeds."""
        return "user" if self.pairs is None else "item"

    @model_validator(mode="after")
    def _towers_fit(self) -> Model:
        for name, tower in (("query", self.query), ("candidate", self.candidate)):
            if not tower.projection and tower.width is not None and tower.width != self.dim:
                raise ValueError(
                    f"{name}: without a projection the tower ends {tower.width} wide, but model.dim is {self.dim}; "
                    f"set {name}.projection: true or make the last width {self.dim}"
                )
        for place, feature in enumerate(self.candidate.features):
            if feature.kind in ("timestamp", "history"):
                raise ValueError(
                    f"candidate.features.{place}: a {feature.kind} feature belongs to the query tower; move it there"
                )
        for place, feature in enumerate(self.query.features):
            if self.pairs is not None and feature.kind in ("timestamp", "history"):
                raise ValueError(
                    f"query.features.{place}: a {feature.kind} feature is of users, but with pairs both towers are of "
                    f"items; remove it, or pairs"
                )
        if self.item_bias and not any(isinstance(feature, IdFeature) for feature in self.candidate.features):
            raise ValueError("item_bias: the candidate tower has no id feature that a bias could belong to; add one")
        if self.linear is not None:
            for name, tower, kind in (("query", self.query, "history"), ("candidate", self.candidate, "id")):
                if all(feature.kind != kind for feature in tower.features):
                    raise ValueError(
                        f"linear: the {name} tower has no {kind} feature to look its weights up by; add one"
                    )
        for mistake in history_mistakes(self.query.features, self.candidate.features):
            raise ValueError(mistake)
        for name, tower in (("query", self.query), ("candidate", self.candidate)):
            names = [feature_name(feature) for feature in tower.features]
            for place, twice in enumerate(names):
                if twice in names[:place]:
                    raise ValueError(f"{name}.features.{place}: feature {twice} is declared twice; remove one")
        return self


class Config(Section):
    """One night's configuration."""

    inputs: Inputs
    time_zone: str = "UTC"
    """Where a date begins and ends: `--ds 2024-05-01` means the events before 2024-05-02 00:00 here. A name of the IANA
    database, such as `Europe/Berlin`. Dates and times without a zone are local times of it."""
    positives: EventFilter = EventFilter()
    """What trains the model and makes up a user's history."""
    seen: EventFilter = EventFilter()
    """What counts as already seen and is left out of user2item and item2user."""
    model: Model = Model()
    tables: Tables = Tables()
    index: Index = Index()
    gate: Gate = Gate()
    run: Run = Run()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zones = {zone.casefold(): zone for zone in available_timezones()}
        if zones.get(value.casefold()) != value:
            nearest = get_close_matches(value.casefold(), zones, n=1, cutoff=0)
            raise ValueError(
                f"{value!r} is not a time zone of the IANA database; did you mean {zones[nearest[0]]}?"
                if nearest
                else "this machine has no time zone database; install the package tzdata"
            )
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which a date begins and ends."""
        return ZoneInfo(self.time_zone)
