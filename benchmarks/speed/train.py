"""Examples per second of ``recbatch train``, beside ``fit`` of the basic retrieval tutorial with the same model.

Ids on both sides, the in-batch softmax, Adagrad, and the tutorial's batch size: ``configs/movielens-100k-basic.yaml``.
The tutorial's program (:mod:`benchmarks.speed.tutorial`) runs without train metrics, and as printed, on fewer events,
for its metrics rank every batch against all items.

* *Ours*: a fit of few epochs and one of more; the rate is so many examples more in so many seconds more, by the
  bundles' manifests. What is left is the warm-up: building the graph, and the one evaluation at the end.
* *The tutorial's*: the median of its epochs after the first. What the first takes more is the warm-up: building the
  graph, and filling the cache of batches.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from benchmarks.quality.sources import movielens_1m
from benchmarks.speed.children import exit_code, run
from benchmarks.speed.events import write_events
from benchmarks.speed.facts import line, median, rate, require_rates, write
from recbatch.config.load import load_config

_TUTORIAL = Path(__file__).with_name("tutorial.py")  # importing it would bring TensorFlow
_CONFIG = "configs/movielens-100k-basic.yaml"
_SYNTHETIC = ("inputs.interactions.columns={user_id: user_id, item_id: item_id, timestamp: timestamp}",)


@dataclass(frozen=True)
class Data:
    """Events of a measurement.

    Attributes:
        name: in the result.
        events: a file or folder.
        pointing: ``key=value`` words that point the configuration at it.
    """

    name: str
    events: Path
    pointing: Sequence[str]

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(ds.dataset(self.events).count_rows())


def data_of(arguments: argparse.Namespace) -> Data:
    """MovieLens 1M if it is given, else synthetic events."""
    folder = Path(arguments.work)
    if arguments.ml1m:
        source = movielens_1m(Path(arguments.ml1m), folder)
        return Data(source.name, source.folder / "interactions.parquet", source.pointing(_CONFIG))
    events = write_events(arguments.rows, 0, folder)
    pointing = [f"inputs.interactions.path={events}/", "inputs.users=null", "inputs.items=null", *_SYNTHETIC]
    return Data("synthetic", events, [*pointing, "inputs.interactions.timestamp_unit=null"])


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All three in turn, several times."""
    data, folder = data_of(arguments), Path(arguments.work)
    runs: dict[str, list[dict[str, Any]]] = {"recbatch": [], "tutorial": [], "tutorial_as_printed": []}
    for _ in range(arguments.runs):
        runs["recbatch"].append(ours(data, folder, arguments.epochs))
        epochs, fewer = max(arguments.epochs), min(data.rows, arguments.printed_rows)
        runs["tutorial"].append(theirs(data, data.rows, epochs, metrics=False))
        runs["tutorial_as_printed"].append(theirs(data, fewer, 2, metrics=True))
        said = (f"{name} {each[-1]['examples_per_second']:,.0f} examples/s" for name, each in runs.items())
        print(", ".join(said), flush=True)
    names = ("examples_per_second", "warm_up_seconds", "peak_bytes")
    medians = {side: {name: median([run[name] for run in each]) for name in names} for side, each in runs.items()}
    rates = {side: each["examples_per_second"] for side, each in medians.items()}
    return {
        "speed_ratio": rates["recbatch"] / rates["tutorial"],
        "speed_ratio_as_printed": rates["recbatch"] / rates["tutorial_as_printed"],
        "data": {"name": data.name, "rows": data.rows},
        "batch_size": load_config(_CONFIG).model.training.batch_size,
        "medians": medians,
        "runs": runs,
    }


def ours(data: Data, folder: Path, epochs: Sequence[int]) -> dict[str, Any]:
    """A fit for each number of epochs, each into a bundle of its own."""
    bundle, fits = folder / "trained", []
    for number in sorted(epochs):
        shutil.rmtree(bundle, ignore_errors=True)
        settings = [*data.pointing, "model.training.refit=false", f"model.training.epochs={number}"]
        sets = [word for setting in settings for word in ("--set", setting)]
        ran = run([sys.executable, "-m", "recbatch", "train", _CONFIG, "--model", str(bundle), *sets])
        said = json.loads((bundle / "manifest.json").read_text())["training"]
        fits.append({**ran.facts, "epochs": number, "examples": said["examples"], "fit_seconds": said["seconds"]})
    warm_up, slope = line([fit["examples"] for fit in fits], [fit["fit_seconds"] for fit in fits])
    peak = max(fit["peak_bytes"] for fit in fits)
    return {"examples_per_second": rate(slope), "warm_up_seconds": warm_up, "peak_bytes": peak, "fits": fits}


def theirs(data: Data, rows: int, epochs: int, *, metrics: bool) -> dict[str, Any]:
    """The tutorial's fit to ``rows`` events."""
    config = load_config(_CONFIG, list(data.pointing))
    model, columns = config.model, config.inputs.interactions.columns
    task: Mapping[str, Any] = {
        "events": str(data.events),
        "user": columns.user_id,
        "item": columns.item_id,
        "rows": rows,
        "share": 1 - model.training.heldout.share,
        "dim": model.dim,
        "batch_size": model.training.batch_size,
        "learning_rate": model.training.learning_rate,
        "epochs": epochs,
        "metrics": metrics,
    }
    ran = run([sys.executable, str(_TUTORIAL), json.dumps(task)])
    said = json.loads(ran.output)
    first, *later = said["epoch_seconds"]
    steady = median(later)
    return {
        **ran.facts,
        **said,
        "examples_per_second": said["examples"] / steady,
        "warm_up_seconds": first - steady,
    }


def main(words: Sequence[str]) -> int:
    """``python -m benchmarks.speed.train --work DIR``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, metavar="DIR", help="folder for events and bundles")
    parser.add_argument("--ml1m", metavar="DIR", help="folder with MovieLens 1M, instead of synthetic events")
    parser.add_argument("--rows", type=int, default=1_000_000, help="synthetic events")
    parser.add_argument("--printed-rows", type=int, default=100_000, help="events of the tutorial as printed, at most")
    parser.add_argument("--epochs", type=int, nargs=2, default=[1, 3], help="of our two fits; the tutorial's: the more")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--results", default="benchmarks/results", metavar="DIR")
    arguments = parser.parse_args(words)
    if arguments.epochs[0] == arguments.epochs[1] or max(arguments.epochs) < 2 or min(arguments.epochs) < 1:
        parser.error("--epochs: give two different numbers, the greater at least 2")
    result = measure(arguments)
    require_rates({side: each["examples_per_second"] for side, each in result["medians"].items()})
    print(write(Path(arguments.results), "train", result))
    for side, each in result["medians"].items():
        speed, warm_up = each["examples_per_second"], each["warm_up_seconds"]
        print(f"{side}: {speed:,.0f} examples/s, warm-up {warm_up:.1f} s, {each['peak_bytes'] / 1e9:.1f} GB")
    for name in ("speed_ratio", "speed_ratio_as_printed"):
        print(f"{name}: {result[name]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main, sys.argv[1:]))
