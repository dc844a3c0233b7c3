"""The command that measures."""

from __future__ import annotations

from typing import Annotated

import typer

from recbatch.cli.options import ConfigArgument, SetOption


def evaluate(
    config: ConfigArgument,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="URI", help="Measure this model bundle as it is, instead of training."),
    ] = None,
    protocols: Annotated[
        list[str] | None,
        typer.Option("--protocol", metavar="LETTER", help="A, B, C, D, S, U, N or I; may be given several times. [B]"),
    ] = None,
    splits: Annotated[int, typer.Option("--splits", min=1, help="How many seeds to take the mean of.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first split.")] = 0,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE.json", help="Write everything that was measured there.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Measure the model on held-out events, beside popularity.

    It is trained on a part of the data, and its lists are compared with the rest; or a bundle is measured as it is.

    Protocols (C, D, S and I need timestamps):

    [bold]A[/bold]  a random 20 % is held out, nothing is removed from the lists: the tutorials'
    [bold]B[/bold]  the split of A, each user's training items removed: what a night publishes
    [bold]C[/bold]  each user's last event is held out
    [bold]D[/bold]  the newest 20 % are held out; warm and cold users apart
    [bold]S[/bold]  the next item after up to 10: the sequential tutorial's
    [bold]U[/bold]  new users, known by their history alone
    [bold]N[/bold]  new items, known by their features alone
    [bold]I[/bold]  which item follows an item

    docs/evaluation.md has the metrics.
    """
    from recbatch.launch.evaluating import evaluate as start

    start(
        config,
        overrides or [],
        model=model,
        protocols=protocols or ["B"],
        splits=splits,
        seed=seed,
        output=output,
    )
