"""What one night is: its name, its inputs, its embedding sets and tables, and where every part of it lies."""

from __future__ import annotations

from recbatch.night.jobs import BundleRef, EmbeddingSet, TableJob, TowerName, embedding_sets, table_jobs
from recbatch.night.last import LastIndexes, LastNight
from recbatch.night.night import Night
from recbatch.night.plan import Plan
from recbatch.night.ranges import Ranges
from recbatch.night.shards import Shard, Shards
from recbatch.night.training import TrainingJob

__all__ = [
    "BundleRef",
    "EmbeddingSet",
    "LastIndexes",
    "LastNight",
    "Night",
    "Plan",
    "Ranges",
    "Shard",
    "Shards",
    "TableJob",
    "TowerName",
    "TrainingJob",
    "embedding_sets",
    "table_jobs",
]
