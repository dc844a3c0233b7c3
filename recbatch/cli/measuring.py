"""The commands that measure models: one as it is, or many to find the best."""

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


def tune(
    config: ConfigArgument,
    study: Annotated[str, typer.Option("--study", metavar="DIR", help="Folder of the search, on this machine.")],
    output: Annotated[str, typer.Option("--output", metavar="FILE", help="Configuration to write (YAML).")],
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="How many trials there are to be.")] = 30,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", help="How long they may take, all together.")
    ] = None,
    ds: Annotated[
        str | None,
        typer.Option("--ds", metavar="YYYY-MM-DD", help="As of the end of that day; without it, of the last event."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", metavar="FILE", help="What may be changed (YAML); without it, what matters most."),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            "--metric", help="What counts: early_stopping (the same), ndcg_at_10, recall_at_10, recall_at_100."
        ),
    ] = "early_stopping",
    overrides: SetOption = None,
) -> None:
    """Search for better settings of the model, and write a configuration with the best for `nightly`.

    The first trial is CONFIG as it is; what counts is what is held out of the training data. A search that was stopped
    goes on where it was; one that has its trials is told to make more by a larger --trials.
    """
    from recbatch.launch.tuning import tune as start

    start(
        config,
        overrides or [],
        study,
        output,
        trials=trials,
        minutes=minutes,
        ds=ds,
        space_path=space,
        metric=metric,
    )
