"""How our configurations were chosen: variants of one, scored on validation data, every score kept.

``python -m benchmarks.quality.choosing CONFIG PROTOCOL [--ml1m DIR] [--by-title] [--splits N] [--share S]
[--set KEY=VALUE ...] [--try "KEY=VALUE KEY=VALUE ..." ...]``

Validation data is the protocol once more, inside of the training data of splits with other seeds (500 and on) than the
benchmark's cells. Where the protocol is not random (C, D) there is but one split, and no event that a cell is measured
on is looked at. Splits of a random protocol overlap: an event that is held out in a cell's split is in most of these
splits' training data, so that some of the validation targets are test events of a cell. What is chosen here was thus
not chosen blind to them, and docs/quality.md says where a test figure was known when it was chosen. Each variant is a
line in ``results/search/recbatch-PROTOCOL.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.cells import ROOT
from benchmarks.quality.datasets import BY_TITLE
from benchmarks.quality.measuring import figures_of, measure_two_tower
from benchmarks.quality.sources import movielens_1m, movielens_100k
from benchmarks.quality.tasks import validation_tasks
from recbatch.config.load import load_config
from recbatch.evaluation import HELDOUT_SHARE, evaluate_lists
from recbatch.launch.evaluating import read_training_data

_FIRST_SPLIT = 500
"""Not the seed of a cell's split. Splits of a random protocol overlap all the same, see above."""
_SECOND_DRAW = 500
"""Added to the seed of S' inner split, which must not draw what the outer one has drawn."""


def score(config_path: str, protocol: str, words: list[str], splits: int, share: float) -> dict[str, Any]:
    """Mean figures of a configuration on ``splits`` validation tasks."""
    config = load_config(config_path, words)
    data, _ = read_training_data(config, [config.model])
    found, steps, started = [], [], time.monotonic()
    for seed in range(_FIRST_SPLIT, _FIRST_SPLIT + splits):
        inner = seed + _SECOND_DRAW if protocol == "S" else seed
        (task,) = validation_tasks(protocol, data, seed, [inner], config=config, share=share)
        training = config.model.training.model_copy(update={"seed": seed})
        own = config.model_copy(update={"model": config.model.model_copy(update={"training": training})})
        with tempfile.TemporaryDirectory() as folder:
            made = measure_two_tower(own, task, Path(folder))
        found.append(figures_of(protocol, evaluate_lists(task, made["lists"], repetitions=0)))
        steps.append(made["steps"])
    figures = {name: round(float(np.mean([one[name] for one in found])), 5) for name in found[0]}
    return {"figures": figures, "steps": steps, "seconds": round((time.monotonic() - started) / splits, 1)}


def main() -> None:
    """Score the configuration as it is with ``--set``, or each of the variants."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("config")
    parser.add_argument("protocol")
    parser.add_argument("--ml1m", type=Path)
    parser.add_argument("--by-title", action="store_true")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--share", type=float, default=HELDOUT_SHARE, help="of the events, in A, B and D")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--try", action="append", default=[], dest="variants")
    parser.add_argument("--log", type=Path, default=ROOT / "benchmarks" / "quality" / "results" / "search")
    given = parser.parse_args()
    source = movielens_100k() if given.ml1m is None else movielens_1m(given.ml1m)
    pointing = [*source.pointing(given.config), *(BY_TITLE if given.by_title else ())]
    for variant in given.variants or [""]:
        words = [*given.set, *variant.split()]
        line = {"config": Path(given.config).name, "dataset": source.name, "set": words, "splits": given.splits}
        if given.protocol in "ABD":
            line["share"] = given.share
        line |= score(given.config, given.protocol, [*pointing, *words], given.splits, given.share)
        print(json.dumps(line), flush=True)
        given.log.mkdir(parents=True, exist_ok=True)
        with (given.log / f"recbatch-{given.protocol}.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
