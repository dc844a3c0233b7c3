"""The first half of a night alone: interactions cleaned and brought together by user and by item, as profiles.

``python -m benchmarks.speed.grouping CONFIG OUTPUT DS``; what the night's later steps would read is left in OUTPUT.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from recbatch.launch.pipelines import run_pipeline
from recbatch.launch.prepare import prepare_night
from recbatch.night import Plan
from recbatch.transforms import Profiles, clean, cut, sample


def build(root: beam.Pipeline, plan: Plan) -> dict[str, Any]:
    """The beginning of :func:`recbatch.pipeline.build`."""
    cleaned = clean(plan, root)
    return cleaned | "Profiles" >> Profiles(plan.night, cut(plan.night, sample(plan.night, cleaned)))


def main(words: Sequence[str]) -> None:
    """Run it and print the counters."""
    config, output, ds = words
    plan = prepare_night(config, [], output, ds, model=None, force=True)
    ran = run_pipeline(lambda root: build(root, plan), "grouping", [], state_uri=plan.night.uri, uris=[output])
    print(json.dumps(dict(ran.counters)))


if __name__ == "__main__":
    main(sys.argv[1:])
