"""How far a night is: parts in its run directory, of those that it will have."""

from __future__ import annotations

from recbatch import storage
from recbatch.night import Plan, Ranges, Shards
from recbatch.run import Progress


def parts_there(plan: Plan) -> Progress:
    """Parts there and planned, by step, in the order of the work."""
    night = plan.night
    progress = {"inputs": (_count(night.path("0_slices")), len(plan.slices))}
    try:
        ranges = Ranges.load(night.ranges_uri)
    except FileNotFoundError:
        return progress
    profiles = sum(_count(night.path("1_profiles", f"{entity}s")) for entity in ("user", "item"))
    progress["profiles"] = (profiles, ranges.count("user") + ranges.count("item"))
    progress["model"] = (int(storage.exists(storage.join(night.bundle.uri, "manifest.json"))), 1)
    for vectors in night.sets:
        there = _count(night.path("2_embeddings", vectors.name))
        progress[vectors.name] = (there, ranges.count(vectors.entity))
    try:
        shards = Shards.load(night.shards_uri)
    except FileNotFoundError:
        shards = None
    for job in night.jobs:
        folders = [night.path("4_tables", job.name)]
        of = () if shards is None else shards.of(job.name)
        folders += [night.shard_parts_uri(job, shard) for shard in of if not shard.alone]
        progress[job.name] = sum(map(_count, folders)), len(folders) * ranges.count(job.queries.entity)
    return progress


def _count(folder: str) -> int:
    return sum(name.endswith(".parquet") for name in storage.list_names(folder))
