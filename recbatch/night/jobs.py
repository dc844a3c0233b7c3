"""Which vectors a night needs and which tables it makes from them, derived from the config and the model bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from recbatch.config.models import Config, Entity, Table
from recbatch.errors import ConfigError

TowerName = Literal["query", "candidate"]

_SIDES: dict[str, tuple[Entity, Entity]] = {
    "user2item": ("user", "item"),
    "item2item": ("item", "item"),
    "user2user": ("user", "user"),
    "item2user": ("item", "user"),
}


@dataclass(frozen=True)
class BundleRef:
    """A model bundle: where it is, and which entity each of its towers embeds.

    ``checksum`` is that of its manifest, which holds those of all its files; None for one that is yet to be trained.
    ``given``: it has no towers, for the vectors are given with the users and items.
    """

    uri: str
    query: Entity = "user"
    candidate: Entity = "item"
    checksum: str | None = None
    given: bool = False


@dataclass(frozen=True)
class EmbeddingSet:
    """The vectors of all users, or of all items, by one tower.

    Attributes:
        name: folder below ``2_embeddings`` and name of the published table.
        entity: whose profiles are embedded.
        tower: ``query`` or ``candidate``.
        bundle: the model bundle that holds the tower.
        schema: name of the table schema.
    """

    name: str
    entity: Entity
    tower: TowerName
    bundle: BundleRef
    schema: str


@dataclass(frozen=True)
class TableJob:
    """One table: which queries look for which candidates, and how."""

    name: str
    settings: Table
    queries: EmbeddingSet
    candidates: EmbeddingSet

    def rows_per_query(self, candidates: int) -> int:
        """Most rows that a query can get of so many candidates, at least 1; memory is taken for no more than that."""
        return max(1, min(self.settings.k, candidates))


def table_jobs(config: Config, default: BundleRef, others: Mapping[str, BundleRef]) -> tuple[TableJob, ...]:
    """The tables of a night.

    Args:
        config: the night's configuration.
        default: the bundle that serves every table without one of its own.
        others: bundles by table name (``tables.<name>.model``).

    Raises:
        ConfigError: a bundle has no tower for a side of its table, or the default one has none for users.
    """
    if "user" not in (default.query, default.candidate):
        raise ConfigError(
            "model.pairs: a night's main model embeds users and items, but this one embeds items only; make it with "
            "`recbatch train`, then name its folder as tables.item2item.model in a config whose model has no pairs",
            key="model.pairs",
        )
    jobs = []
    for name, settings in config.tables.enabled().items():
        query, candidate = _SIDES[name]
        bundle = others.get(name, default)
        query_tower = _tower(bundle, query, ("query", "candidate"), name)
        candidate_tower = _tower(bundle, candidate, ("candidate", "query"), name)
        if name in others:
            queries = EmbeddingSet(f"{name}_query_embeddings", query, query_tower, bundle, "query_embeddings")
            candidates = EmbeddingSet(
                f"{name}_candidate_embeddings", candidate, candidate_tower, bundle, "candidate_embeddings"
            )
        else:
            queries = _shared(query, query_tower, bundle)
            candidates = _shared(candidate, candidate_tower, bundle)
        jobs.append(TableJob(name, settings, queries, candidates))
    return tuple(jobs)


def embedding_sets(jobs: Sequence[TableJob], default: BundleRef) -> tuple[EmbeddingSet, ...]:
    """Every set of vectors to compute: users and items by the default bundle, and those of tables with their own."""
    sets: dict[str, EmbeddingSet] = {}
    towers: tuple[tuple[Entity, TowerName], ...] = ((default.query, "query"), (default.candidate, "candidate"))
    for entity, tower in towers:
        shared = _shared(entity, tower, default)
        sets.setdefault(shared.name, shared)
    for job in jobs:
        sets.setdefault(job.queries.name, job.queries)
        sets.setdefault(job.candidates.name, job.candidates)
    return tuple(sets.values())


def _shared(entity: Entity, tower: TowerName, bundle: BundleRef) -> EmbeddingSet:
    return EmbeddingSet(f"{entity}_embeddings", entity, tower, bundle, f"{entity}_embeddings")


def _tower(bundle: BundleRef, entity: Entity, preference: tuple[TowerName, TowerName], table: str) -> TowerName:
    """The first of the preferred towers that embeds ``entity``: an item is a query of item2item by whichever it has."""
    for tower in preference:
        if getattr(bundle, tower) == entity:
            return tower
    raise ConfigError(
        f"tables.{table}: the model bundle {bundle.uri} embeds {bundle.query}s (query) and {bundle.candidate}s "
        f"(candidate), so it cannot make this table, which needs {entity}s; set tables.{table}.enabled: false, or name "
        f"another bundle as tables.{table}.model",
        key=f"tables.{table}",
    )
