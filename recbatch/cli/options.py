"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="Configuration file (YAML), local or gs://. A job takes --config=URI.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as tables.user2item.k=50.")
]
OutputOption = Annotated[str, typer.Option("--output", metavar="URI", help="Folder of all nights, local or gs://.")]
DsOption = Annotated[
    str, typer.Option("--ds", metavar="YYYY-MM-DD", help="Date of the night: events up to the end of that day count.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Make it again, in a run of its own, if it is published.")]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="URI", help="Folder of a model bundle.")]
UserVectorsOption = Annotated[
    str | None, typer.Option("--user-vectors", metavar="URI", help="Parquet with a vector for each user.")
]
ItemVectorsOption = Annotated[
    str | None, typer.Option("--item-vectors", metavar="URI", help="Parquet with a vector for each item.")
]
