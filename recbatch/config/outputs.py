"""The ``tables``, ``index``, ``gate`` and ``run`` sections."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recbatch.config.sections import Section

TABLES = ("user2item", "item2item", "user2user", "item2user")
TableName = Literal["user2item", "item2item", "user2user", "item2user"]


class Table(Section):
    """One of the four tables."""

    enabled: bool = True
    """Whether the night makes this table."""
    k: int = Field(100, gt=0)
    """Rows per id, at most: fewer where fewer candidates are eligible."""
    similarity: Literal["dot", "cosine"]
    exclude_seen: bool = False
    exclude_self: bool = False
    min_recall: float = Field(0.95, gt=0, le=1)
    """Least share of the exact top-k that an approximate index must find."""
    model: str | None = None
    """URI of another model bundle for this table; it then publishes its own embeddings beside it."""


class CrossTable(Table):
    """From users to items or back: ranked by the model's own score, without what was seen."""

    similarity: Literal["dot", "cosine"] = "dot"
    """How two embeddings are compared: `dot` is the model's own score."""
    exclude_seen: bool = True
    """Leave out the pairs that the user has seen (see `seen`)."""
    exclude_self: Literal[False] = False
    """A user is no item: there is nothing to exclude."""


class SelfTable(Table):
    """From items to items or from users to users: ranked by cosine, without the query itself."""

    similarity: Literal["dot", "cosine"] = "cosine"
    """How two embeddings are compared: by `cosine`, length and popularity do not count."""
    exclude_seen: Literal[False] = False
    """Items see no items: there is nothing to exclude."""
    exclude_self: bool = True
    """Leave out the id itself, which is always its own nearest neighbour."""


class Tables(Section):
    """The four tables. Each is on, and its settings are independent of the others'."""

    user2item: CrossTable = CrossTable()
    """For every user the items to recommend."""
    item2item: SelfTable = SelfTable()
    """For every item the items like it."""
    user2user: SelfTable = SelfTable()
    """For every user the users like them."""
    item2user: CrossTable = CrossTable()
    """For every item the users to tell about it."""

    def enabled(self) -> dict[str, Table]:
        """The tables that are on, in their fixed order."""
        return {name: getattr(self, name) for name in TABLES if getattr(self, name).enabled}


class Index(Section):
    """How neighbours are searched."""

    kind: Literal["auto", "exact", "scann"] = "auto"
    """`exact` compares with every candidate, `scann` uses an approximate index that keeps each table's `min_recall`,
    `auto` takes whichever is cheaper."""
    start_from: Literal["last", "none"] = "last"
    """How much of an index a query looks at is measured on every night's own queries. `last`: how the newest published
    date before this one was searched is measured first, and kept if it has the `min_recall`; `none`: all settings are
    tried every night. `recbatch backfill` always tries all."""
    memory_gib: float = Field(4.0, gt=0)
    """Memory of one worker for candidates and their indexes, in GiB, all tables together. Candidates that need more are
    cut into shards, which are searched one after the other; the tables' rows stay the best of all candidates."""


class Gate(Section):
    """What the night's new model is compared with before it is used: on what was held out, by the measure that early
    stopping goes by (`model.training.early_stopping.metric`)."""

    worse_than: list[Literal["last", "popularity"]] = ["last", "popularity"]
    """`last`: the model of the newest published date before this one, where there is one. `popularity`: the items with
    the most positives. An empty list compares with nothing."""
    on_failure: Literal["warn", "fail", "keep"] = "warn"
    """When the new model is worse, or can be compared with none of these (because nothing was held out, say): `warn`
    uses it all the same, `fail` ends the night, `keep` makes the tables with the last night's model (and fails where
    there is none, or it is no better). A first night has no last one, and is compared with popularity alone."""
    tolerance: float = Field(0.05, ge=0, lt=1)
    """Worse is what reaches less than (1 - tolerance) times the other's figure. Fits to the same data that differ by
    the seed alone differ by some percent; `0` calls every smaller figure worse."""


class Run(Section):
    """How the work is cut, and what a run puts up with. The cut does not change which candidates are recommended."""

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
