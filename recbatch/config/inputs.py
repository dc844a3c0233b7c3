"""The ``inputs``, ``positives`` and ``seen`` sections."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recbatch.config.sections import Section

Paths = str | Annotated[list[str], Field(min_length=1)]
"""One path or several: Parquet files, folders, globs; local or gs://."""


class InteractionColumns(Section):
    """Which column of the files holds what. Only the two ids are needed."""

    user_id: str = "user_id"
    """Column with the user's id: text or whole numbers."""
    item_id: str = "item_id"
    """Column with the item's id: text or whole numbers."""
    timestamp: str | None = None
    """Column with the time of the event. Without one the held-out split is random and time features switch themselves
    off."""
    weight: str | None = None
    """Column with a number that says how strong the event is (a rating, a play count); see `positives`."""
    event_type: str | None = None
    """Column that says what happened (`view`, `purchase`); see `positives`."""


class InteractionsInput(Section):
    """Events between users and items, one per row."""

    path: Paths
    """Parquet file, folder (Hive-partitioned ones too) or glob, or a list of them; local or `gs://`. A relative path is
    relative to the current directory."""
    columns: InteractionColumns = InteractionColumns()
    context: list[str] = []
    """Further columns that query features may use (a device, a country). At night a user's newest known value is
    used."""
    timestamp_unit: Literal["s", "ms", "us", "ns", "iso"] | None = None
    """Unit of a timestamp column of numbers (since 1970, UTC), or `iso` for ISO 8601 text. A column of an Arrow
    timestamp or date type carries its own and needs none."""


class EntityInput(Section):
    """A table of users or of items, one per row: an id and any feature columns. Of duplicate ids the last one wins."""

    path: Paths
    """Parquet file, folder or glob, or a list of them; local or `gs://`."""
    id: str = "id"
    """Column with the id, as it is written in the interactions."""
    label: str | None = None
    """Column with a readable name (a title), shown by `recbatch show` and by previews."""
    embedding: str | None = None
    """Column with a vector for each id, a list of numbers, made by whatever model. Named for users and items, it takes
    the model's place: nothing is trained, and every table is made from these vectors."""


class Inputs(Section):
    """Where the data is."""

    @property
    def has_vectors(self) -> bool:
        """Whether vectors are given for users and items."""
        return all(table is not None and table.embedding is not None for table in (self.users, self.items))

    interactions: InteractionsInput
    users: EntityInput | None = None
    """Without it the user ids seen in the interactions are the users."""
    items: EntityInput | None = None
    """Without it the item ids seen in the interactions are the items."""
    unknown_users: Literal["drop", "keep", "fail"] = "drop"
    """Interactions whose user is not in the users table: not used, or the user joins the table, or an error."""
    unknown_items: Literal["drop", "keep", "fail"] = "drop"
    """Interactions whose item is not in the items table: not used, or the item joins the table, or an error."""
    max_quarantined_share: float = Field(0.01, ge=0, le=1)
    """The run fails when more than this share of the rows of an input had to be put aside (a null id, an unreadable
    time, NaN in a column of numbers that is used); those rows are written to the run directory with the reason."""


class EventFilter(Section):
    """Which interactions count. By default all of them."""

    min_weight: float | None = None
    """Only events of at least this weight. Needs `inputs.interactions.columns.weight`."""
    event_types: Annotated[list[str], Field(min_length=1)] | None = None
    """Only events of these types. Needs `inputs.interactions.columns.event_type`."""
