"""The night's embed stage alone: ``python -m benchmarks.speed.embedding CONFIG OUTPUT DS BUNDLE RANGES``.

Of a night whose user profiles are in OUTPUT, it embeds the first so many ranges of users and nothing else: Beam's
pipeline, RunInference and the work item, as they are in a night. With 0 ranges it makes the profiles, and no more.
Prints JSON: ``rows``, ``seconds`` of the pipeline, from its construction to its end, and where the ``profiles`` are.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq

from benchmarks.speed.grouping import build
from recbatch.launch.pipelines import run_pipeline
from recbatch.launch.prepare import prepare_night
from recbatch.night import Plan
from recbatch.run import Part
from recbatch.transforms import Embed
from recbatch.work.items import RangePart


def embed(root: beam.Pipeline, plan: Plan, profiles: Sequence[Path]) -> Any:
    """The stage :class:`recbatch.transforms.Embed` of the users, on profiles that are there."""
    night = plan.night
    (vectors,) = [vectors for vectors in night.sets if vectors.entity == "user"]
    ranges = [RangePart("user", int(path.stem.removeprefix("part-")), _part(path)) for path in profiles]
    bundle = root | "Bundle" >> beam.Create([vectors.bundle])
    return root | "Profiles" >> beam.Create(ranges) | "Embed" >> Embed(night, vectors, bundle)


def _part(path: Path) -> Part:
    return Part(str(path), "", pq.read_metadata(path).num_rows, path.stat().st_size)


def main(words: Sequence[str]) -> None:
    """Run it and print what was done."""
    config, output, ds, bundle, ranges = words
    plan = prepare_night(config, [], output, ds, model=bundle, force=False)
    folder = Path(plan.night.path("1_profiles", "users"))
    made: dict[str, Any] = {"profiles": str(folder)}
    if not int(ranges):
        run_pipeline(lambda root: build(root, plan), "grouping", [], state_uri=plan.night.uri, uris=[output])
    else:
        shutil.rmtree(plan.night.path("2_embeddings"), ignore_errors=True)
        profiles = sorted(folder.glob("part-*.parquet"))[: int(ranges)]
        started = time.perf_counter()
        ran = run_pipeline(
            lambda root: embed(root, plan, profiles), "embedding", [], state_uri=plan.night.uri, uris=[output]
        )
        made |= {"seconds": time.perf_counter() - started, "rows": ran.counters["embed_rows"]}
    print(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1:])
