"""The commands. Each parses, then calls one function; heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.main import get_command

from recbatch.cli.logs import set_up_logs
from recbatch.cli.measuring import evaluate, tune
from recbatch.cli.options import (
    ConfigArgument,
    DsOption,
    ForceOption,
    ItemVectorsOption,
    ModelOption,
    OutputOption,
    SetOption,
    UserVectorsOption,
)
from recbatch.cli.planning import plan
from recbatch.cli.words import split_words
from recbatch.errors import InputError, RecbatchError

app = typer.Typer(
    name="recbatch",
    epilog="To begin with your own data: [bold]recbatch init INTERACTIONS > config.yaml[/bold], then [bold]recbatch "
    "nightly config.yaml --output DIR --ds DATE[/bold] and [bold]recbatch show DIR --ds DATE[/bold].",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130
_GO_ON = ("train", "tune", "recommend", "nightly", "backfill")
"""The commands that keep what they have done, and go on from there."""
_BEGIN_ANEW = ("evaluate",)
_BEAM = {"allow_extra_args": True}
_BEAM_EPILOG = (
    "Options of Apache Beam go after [bold]--[/bold], such as [bold]-- --runner=DataflowRunner --region=europe-west1"
    "[/bold]; without any, the work is done in this process. Exit codes: 0 done or nothing to do, 1 failed, 2 usage, "
    "config or input error, 130 interrupted."
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"recbatch {metadata.version('recbatch')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """The nightly batch recommendation run: interactions in Parquet in, four top-k tables in Parquet out."""


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="Name of the dataset: movielens-100k.")],
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder for the three Parquet files.")],
) -> None:
    """Fetch a public dataset as interactions, users and items in Parquet; what is there already is only checked."""
    from recbatch.datasets import fetch

    typer.echo(str(fetch(name, to)))


@app.command()
def init(
    interactions: Annotated[str, typer.Argument(help="Parquet file, folder or glob with the interactions.")],
    users: Annotated[str | None, typer.Option("--users", help="Parquet with the users.")] = None,
    items: Annotated[str | None, typer.Option("--items", help="Parquet with the items.")] = None,
) -> None:
    """Look at your data and print a commented configuration to start from.

    What it cannot know is marked in the comments; read them, then run [bold]recbatch nightly[/bold] with it.
    """
    from recbatch.starter import starter_config

    typer.echo(starter_config(interactions, users, items), nl=False)


@app.command()
def config(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Print the resolved configuration: every key with its value, defaults included. Mistakes are all named at once."""
    from recbatch.config.load import dump_config, load_config

    typer.echo(dump_config(load_config(config, overrides or [])), nl=False)


@app.command(context_settings=_BEAM, epilog=_BEAM_EPILOG)
def train(
    context: typer.Context,
    config: ConfigArgument,
    model: Annotated[str, typer.Option("--model", metavar="URI", help="Folder of the model bundle to make.")],
    ds: Annotated[
        str | None,
        typer.Option("--ds", metavar="YYYY-MM-DD", help="As of the end of that day; without it, of the last event."),
    ] = None,
    warm_start: Annotated[
        str | None, typer.Option("--warm-start", metavar="URI", help="Begin with the weights of this model bundle.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Train the two towers and export them as a model bundle, for `recommend` and `backfill`.

    A training that was stopped goes on from its last checkpoint. `nightly` trains by itself.
    """
    from recbatch.launch.training import train as start

    start(config, overrides or [], model, ds, beam_arguments=context.args, warm_start=warm_start)


app.command()(tune)


@app.command(context_settings=_BEAM, epilog=_BEAM_EPILOG)
def recommend(
    context: typer.Context,
    config: ConfigArgument,
    output: OutputOption,
    ds: DsOption,
    model: ModelOption = None,
    user_vectors: UserVectorsOption = None,
    item_vectors: ItemVectorsOption = None,
    force: ForceOption = False,
    overrides: SetOption = None,
) -> None:
    """Make and publish the tables of a date with a model that is there, or from vectors.

    As `nightly`, without the training. Vectors are Parquet with columns [bold]id[/bold] and [bold]embedding[/bold] (a
    list of numbers) by whatever model; the same as `inputs.users` and `inputs.items` with an `embedding`.
    """
    from recbatch.launch.nightly import recommend as start

    vectors = {"users": user_vectors, "items": item_vectors}
    start(config, overrides or [], output, ds, model=model, vectors=vectors, force=force, beam_arguments=context.args)


@app.command(context_settings=_BEAM, epilog=_BEAM_EPILOG)
def nightly(
    context: typer.Context,
    config: ConfigArgument,
    output: OutputOption,
    ds: DsOption,
    force: ForceOption = False,
    overrides: SetOption = None,
) -> None:
    """Train a model, embed, search and publish the tables of a date.

    The tables are in OUTPUT/TABLE/ds=DATE, the model in OUTPUT/_models. A run that was stopped is gone on with where
    it was; a night that is published and whose inputs are the same is left as it is.
    """
    from recbatch.launch.nightly import nightly as start

    start(config, overrides or [], output, ds, force=force, beam_arguments=context.args)


@app.command(context_settings=_BEAM, epilog=_BEAM_EPILOG)
def backfill(
    context: typer.Context,
    config: ConfigArgument,
    output: OutputOption,
    first: Annotated[str, typer.Option("--from", metavar="YYYY-MM-DD", help="First date.")],
    last: Annotated[str, typer.Option("--to", metavar="YYYY-MM-DD", help="Last date.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="URI", help="Use this model bundle instead of training per date.")
    ] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train per date (what happens without --model).")] = False,
    force: ForceOption = False,
    overrides: SetOption = None,
) -> None:
    """Make the nights of a range of dates, each as of its own date.

    Dates that are published are skipped, whatever their inputs. A date that fails does not stop those after it; the
    exit code is 1 then, and the same command tries again only what is missing.
    """
    if model is not None and retrain:
        raise InputError("--model and --retrain contradict each other; give one of them")
    from recbatch.launch.backfill import backfill as start

    start(config, overrides or [], output, first, last, model=model, force=force, beam_arguments=context.args)


app.command()(evaluate)
app.command()(plan)


@app.command()
def verify(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder of all nights.")],
    ds: Annotated[str | None, typer.Option("--ds", metavar="YYYY-MM-DD", help="Only this date.")] = None,
) -> None:
    """Check what is published, by content: checksums, row counts, schemas, missing and stray files.

    Every published file is read. Paths are relative to OUTPUT, so a copied or moved output verifies, too.
    """
    from recbatch.launch.dates import parse_date
    from recbatch.tables.verify import verify_output

    verify_output(output, None if ds is None else parse_date(ds).isoformat())


@app.command()
def show(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder of all nights.")],
    ds: Annotated[str, typer.Option("--ds", metavar="YYYY-MM-DD", help="Date of a published night.")],
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="What one user gets.")] = None,
    item: Annotated[str | None, typer.Option("--item", metavar="ID", help="What belongs to one item.")] = None,
) -> None:
    """Show a published night: its key figures and a preview, or all that it says of one user or item."""
    from recbatch.launch.dates import parse_date
    from recbatch.report import show_night

    show_night(output, parse_date(ds).isoformat(), user=user, item=item)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    0 done or nothing to do, 1 failed, 2 usage, config or input error, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: Any = get_command(app)
    command = commands.commands.get(words[0]) if words else None
    if command is None or not command.context_settings.get("allow_extra_args"):
        return _run(commands, lambda: words, "recbatch", words[0] if words else "")
    return _run(commands, lambda: [words[0], *_sorted_words(command, words[1:])], "recbatch", words[0])


def job(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command as a scheduler's job: CONFIG is ``--config=...``, all words are ``--name=value``."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: Any = get_command(app)
    command = commands.commands[name]
    return _run(command, lambda: _sorted_words(command, words), f"jobs/{name}.py", name)


def _sorted_words(command: Any, words: Sequence[str]) -> list[str]:
    """The command's own words, then those of Beam, which are known to be Beam's before anything is begun."""
    options = [option for option in command.params if hasattr(option, "is_flag")]
    flags = {name: bool(option.is_flag) for option in options for name in option.opts} | {"--help": True}
    own, beam = split_words(words, flags)
    if beam and "--help" not in own:
        from recbatch.launch.beam import beam_options

        beam_options(beam, own=list(flags))
        if not own or own[0].startswith("-"):  # else one of Beam's words would be taken for it
            raise InputError("CONFIG is missing; name the configuration file, in a job as --config=URI")
    return [*own, "--", *beam]


def _run(command: Any, words: Callable[[], list[str]], program: str, name: str) -> int:
    """Run the command ``name``."""
    set_up_logs()
    try:
        command.main(words(), prog_name=program)
    except SystemExit as stop:  # how the command-line library ends, after it has shown its own usage errors
        if stop.code == _INTERRUPTED:
            typer.echo(_interrupted(name), err=True)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (RecbatchError, OSError) as error:
        from recbatch.run import explain  # brings Arrow, which `--help` does without

        typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(explain(error, kept=name in _GO_ON), err=True)
        for note in getattr(error, "__notes__", ()):
            typer.echo(note, err=True)
        return error.exit_code if isinstance(error, RecbatchError) else 1
    return 0


def _interrupted(name: str) -> str:
    if name in _GO_ON:
        return "interrupted; what is done is kept, and the same command goes on from there"
    return "interrupted; nothing is kept, and the same command begins anew" if name in _BEGIN_ANEW else "interrupted"


def entry() -> None:
    """The console script."""
    sys.exit(main())
