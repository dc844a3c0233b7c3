"""The command that says what a night will take."""

from __future__ import annotations

from typing import Annotated

import typer

from recbatch.cli.options import ConfigArgument, ItemVectorsOption, ModelOption, SetOption, UserVectorsOption


def plan(
    config: ConfigArgument,
    model: ModelOption = None,
    user_vectors: UserVectorsOption = None,
    item_vectors: ItemVectorsOption = None,
    ds: Annotated[
        str | None, typer.Option("--ds", metavar="YYYY-MM-DD", help="Date of the night; without it, today.")
    ] = None,
    hours: Annotated[float, typer.Option("--hours", help="How long a run on Dataflow may take.")] = 1.0,
    json: Annotated[str | None, typer.Option("--json", metavar="URI", help="Write all of it there.")] = None,
    overrides: SetOption = None,
) -> None:
    """Say what a night will take, before it is run: shards, time, memory, bytes, and workers on Dataflow.

    The arguments are those of `recommend`, or of `nightly` without a model and vectors. The inputs are looked at, and
    the night's work is measured on a sample of them (some ten seconds); nothing is written into an output.
    docs/planning.md has the formulas.
    """
    from recbatch.launch.planning import plan as start
    from recbatch.planning import show_forecast

    vectors = {"users": user_vectors, "items": item_vectors}
    show_forecast(start(config, overrides or [], model=model, vectors=vectors, ds=ds, hours=hours, json_uri=json))
