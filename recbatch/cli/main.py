"""The commands. Each parses, then calls one function; heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from recbatch.cli.logs import set_up_logs
from recbatch.cli.words import split_words
from recbatch.errors import InputError, RecbatchError
from recbatch.run import explain

app = typer.Typer(
    name="recbatch",
    help="The nightly batch recommendation run: interactions in Parquet in, four top-k tables in Parquet out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130
_BEAM = {"allow_extra_args": True}
_BEAM_EPILOG = (
    "Options of Apache Beam go after [bold]--[/bold], such as [bold]-- --runner=DataflowRunner --region=europe-west1"
    "[/bold]; without any, the work is done in this process. Exit codes: 0 published or nothing to do, 1 failed, "
    "2 usage, config or input error."
)

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="Configuration file (YAML), local or gs://.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as tables.user2item.k=50.")
]
OutputOption = Annotated[str, typer.Option("--output", metavar="URI", help="Folder of all nights, local or gs://.")]
DsOption = Annotated[
    str, typer.Option("--ds", metavar="YYYY-MM-DD", help="Date of the night: events up to the end of that day count.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Make it again even if it is published.")]


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="Name of the dataset: movielens-100k.")],
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder for the three Parquet files.")],
) -> None:
    """Fetch a public dataset as interactions, users and items in Parquet."""
    from recbatch.datasets import fetch

    typer.echo(str(fetch(name, to)))


@app.command()
def init(
    interactions: Annotated[str, typer.Argument(help="Parquet file, folder or glob with the interactions.")],
    users: Annotated[str | None, typer.Option("--users", help="Parquet with the users.")] = None,
    items: Annotated[str | None, typer.Option("--items", help="Parquet with the items.")] = None,
) -> None:
    """Look at your data and print a commented configuration to start from."""
    from recbatch.starter import starter_config

    typer.echo(starter_config(interactions, users, items), nl=False)


@app.command()
def config(config: ConfigArgument, overrides: SetOption = None) -> None:
    """Print the resolved configuration: every key with its value."""
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
    overrides: SetOption = None,
) -> None:
    """Train the two towers and export them as a model bundle."""
    from recbatch.launch.training import train as start

    start(config, overrides or [], model, ds, beam_arguments=_beam_words(context))


@app.command(context_settings=_BEAM, epilog=_BEAM_EPILOG)
def recommend(
    context: typer.Context,
    config: ConfigArgument,
    model: Annotated[str, typer.Option("--model", metavar="URI", help="Folder of a model bundle.")],
    output: OutputOption,
    ds: DsOption,
    force: ForceOption = False,
    overrides: SetOption = None,
) -> None:
    """Make and publish the tables of a date with a model that is there."""
    from recbatch.launch.nightly import recommend as start

    start(config, overrides or [], output, ds, model=model, force=force, beam_arguments=_beam_words(context))


@app.command(context_settings=_BEAM, epilog=_BEAM_EPILOG)
def nightly(
    context: typer.Context,
    config: ConfigArgument,
    output: OutputOption,
    ds: DsOption,
    force: ForceOption = False,
    overrides: SetOption = None,
) -> None:
    """Train, embed, search and publish the tables of a date; resumes where an earlier attempt was stopped."""
    from recbatch.launch.nightly import nightly as start

    start(config, overrides or [], output, ds, force=force, beam_arguments=_beam_words(context))


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
    """Make the nights of a range of dates, each as of its own date; dates that are published are skipped."""
    if model is not None and retrain:
        raise InputError("--model and --retrain contradict each other; give one of them")
    from recbatch.launch.backfill import backfill as start

    start(config, overrides or [], output, first, last, model=model, force=force, beam_arguments=_beam_words(context))


@app.command()
def verify(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder of all nights.")],
    ds: Annotated[str | None, typer.Option("--ds", metavar="YYYY-MM-DD", help="Only this date.")] = None,
) -> None:
    """Check what is published, by content: checksums, row counts, schemas, missing and stray files."""
    from recbatch.tables.verify import verify_output

    verify_output(output, ds)


@app.command()
def show(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder of all nights.")],
    ds: DsOption,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="What one user gets.")] = None,
    item: Annotated[str | None, typer.Option("--item", metavar="ID", help="What belongs to one item.")] = None,
) -> None:
    """Show a published night: its key figures and a preview, or all that it says of one user or item."""
    from recbatch.report import show_night

    show_night(output, ds, user=user, item=item)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done or nothing to do, 1 failed, 2 usage, config or input error."""
    return _run(get_command(app), lambda: list(sys.argv[1:] if arguments is None else arguments), "recbatch")


def job(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command as a scheduler's job: CONFIG is ``--config=...``, and options that are not its own are Beam's."""
    commands: Any = get_command(app)
    command = commands.commands[name]
    words = sys.argv[1:] if arguments is None else arguments

    def sorted_words() -> list[str]:
        own, beam = split_words(words, _options(command))
        if beam:
            _check_beam_words(command, beam)
        return [*own, "--", *beam]

    return _run(command, sorted_words, f"jobs/{name}.py")


def _options(command: Any) -> dict[str, bool]:
    """The options of a command; whether each is a flag."""
    own = [option for option in command.params if hasattr(option, "is_flag")]
    return {name: bool(option.is_flag) for option in own for name in option.opts} | {"--help": True}


def _beam_words(context: typer.Context) -> list[str]:
    """The words after the command's own, known to be Beam's before anything is begun."""
    if context.args:
        _check_beam_words(context.command, context.args)
    return context.args


def _check_beam_words(command: Any, words: Sequence[str]) -> None:
    from recbatch.launch.beam import beam_options

    beam_options(words, own=list(_options(command)))


def _run(command: Any, words: Callable[[], list[str]], name: str) -> int:
    set_up_logs()
    try:
        command.main(words(), prog_name=name)
    except SystemExit as stop:  # how the command-line library ends, after it has shown its own usage errors
        if stop.code == _INTERRUPTED:
            typer.echo("interrupted; what is done is kept, and the same command goes on from there", err=True)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:  # who reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RecbatchError, OSError) as error:
        typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(explain(error), err=True)
        for note in getattr(error, "__notes__", ()):
            typer.echo(note, err=True)
        return error.exit_code if isinstance(error, RecbatchError) else 1
    return 0


def entry() -> None:
    """The console script."""
    sys.exit(main())
