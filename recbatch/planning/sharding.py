"""The shards that the night will cut, by its own rule."""

from __future__ import annotations

from collections.abc import Mapping

from recbatch.index import candidate_bytes
from recbatch.night import Night, Shards
from recbatch.planning.sizes import Sizes
from recbatch.work.shards import Need, plan_shards


def planned_shards(night: Night, sizes: Sizes, widths: Mapping[str, int], shares: Mapping[str, float]) -> Shards:
    """The shards of all tables.

    Args:
        night: the night.
        sizes: its ids by range.
        widths: of each set of vectors.
        shares: of each set, how many ids have a vector.
    """
    needs = [
        Need(
            job.name,
            tuple(
                round(ids * shares[job.candidates.name]) * candidate_bytes(widths[job.candidates.name])
                for ids in sizes.entities[job.candidates.entity].ranges
            ),
        )
        for job in night.jobs
    ]
    return plan_shards(needs, int(night.config.index.memory_gib * 2**30))


def largest_shards(
    night: Night, sizes: Sizes, widths: Mapping[str, int], shares: Mapping[str, float]
) -> dict[str, int]:
    """The most candidates that a shard of each table holds."""
    shards = planned_shards(night, sizes, widths, shares)
    result = {}
    for job in night.jobs:
        ranges, share = sizes.entities[job.candidates.entity].ranges, shares[job.candidates.name]
        held = [sum(ranges[shard.first : shard.stop]) for shard in shards.of(job.name)]
        result[job.name] = round(max(held, default=0) * share)
    return result
