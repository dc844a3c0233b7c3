"""A published night for people: its key figures, a readable preview, and all that it says of one user or item."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbatch import storage
from recbatch.errors import InputError
from recbatch.run import read_part
from recbatch.tables.pointer import require_pointer
from recbatch.tables.read import lookup, read_manifest

_PREVIEW_IDS = 3
_PREVIEW_ROWS = 5
_SHOWN_ROWS = 20
_TITLES = {
    "user2item": "recommended",
    "item2item": "similar",
    "user2user": "similar users",
    "item2user": "users to tell",
}


@dataclass
class Night:
    """A published night, opened for reading."""

    output: str
    manifest: Mapping[str, Any]
    place: str
    """Where the manifest is."""

    @property
    def timed(self) -> bool:
        """Whether the interactions have times; else their order means nothing."""
        return self.manifest["identity"]["config"]["inputs"]["interactions"]["columns"]["timestamp"] is not None

    def label(self, entity: str, ids: Sequence[str]) -> dict[str, str]:
        """Readable names of some ids: id -> label; an id without one keeps its id."""
        column = self.manifest["labels"].get(entity)
        labels = dict(zip(ids, ids, strict=True))
        if column is not None and ids:
            profiles = self.profiles(entity, ids, [f"feature:{column}"])
            for name, label in zip(profiles.column(0).to_pylist(), profiles.column(1).to_pylist(), strict=True):
                labels[name] = label or name
        return labels

    def profiles(self, entity: str, ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """Rows of the profile parts for some ids, with the columns asked for behind the id."""
        wanted = pa.array(ids, pa.string())
        parts = []
        for file in self.manifest["parts"][f"{entity}_profiles"]:
            rows = read_part(storage.join(self.output, file["path"]), ["id", *columns])
            parts.append(rows.filter(pc.is_in(rows.column("id"), wanted)))
        return pa.concat_tables(parts)

    def typical(self, entity: str, count: int) -> list[str]:
        """A few ids of the first range: first the one with the most interactions, then others with ever fewer."""
        uri = storage.join(self.output, self.manifest["parts"][f"{entity}_profiles"][0]["path"])
        rows = read_part(uri, ["id", "events"])
        rows = rows.sort_by([("events", "descending"), ("id", "ascending")])
        places = {round(rows.num_rows * share / (2 * count)) for share in range(count)}
        return [rows.column("id")[place].as_py() for place in sorted(places) if place < rows.num_rows]

    def rows(self, table: str, ids: Sequence[str]) -> pa.Table:
        """Rows of a table for some queries."""
        return lookup(self.output, dict(self.manifest), table, ids)


def open_night(output: str, ds: str) -> Night:
    """The published night of a date.

    Raises:
        InputError: the date is not published.
    """
    output = storage.absolute(output)
    pointer = require_pointer(output, ds)
    return Night(output, read_manifest(output, pointer), storage.join(output, pointer.manifest))


def show_night(output: str, ds: str, *, user: str | None = None, item: str | None = None) -> None:
    """Print a night to standard output: all about one user or item, else key figures and a preview."""
    night = open_night(output, ds)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if user is None and item is None:
        _figures(console, night)
        _preview(console, night)
        return
    for entity, name in (("user", user), ("item", item)):
        if name is not None:
            _one(console, night, entity, name, ds)


def _figures(console: Console, night: Night) -> None:
    manifest = night.manifest
    console.print(f"\n[bold]Night of {manifest['ds']}[/bold], run {manifest['run']}")
    console.print(Text(f"tables in {night.output}/<table>/ds={manifest['ds']}/"))
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("table")
    for name in ("rows", "ids served", "not served", "search", "index recall"):
        grid.add_column(name, justify="right")
    for name, entry in manifest["tables"].items():
        index = entry.get("index")
        grid.add_row(
            name,
            f"{entry['rows']:,}",
            f"{entry['queries']:,}",
            f"{sum(entry['not_served'].values()):,}",
            index["kind"] if index else "",
            f"{index['index_recall_at_k']:.3f}" if index else "",
        )
    console.print(grid)
    for line in _sentences(manifest):
        console.print(Text(line))
    if quarantine := manifest["parts"].get("quarantine"):
        folder = storage.join(night.output, quarantine[0]["path"]).rpartition("/")[0]
        console.print(Text(f"rows put aside, with the reasons: {folder}"))


def _sentences(manifest: Mapping[str, Any]) -> list[str]:
    counts = manifest["counts"]["interactions"]
    shown = {name: counts[name] for name in ("rows", "accepted", "after_as_of", "quarantined") if name in counts}
    lines = ["interactions: " + ", ".join(f"{name} {value:,}" for name, value in shown.items())]
    model = manifest["model"]
    if model.get("given"):
        return [*lines, "model: none, the vectors were given", _seconds(manifest), *manifest["notes"]]
    kept = {name: value for name, value in model["metrics"].items() if not name.endswith("_with_seen")}
    measured = ", ".join(f"{name} {value:.3f}" for name, value in kept.items()) or "nothing was held out"
    lines.append(f"model: {measured} ({model['steps']:,} steps, fitted in {model['seconds']:.0f} s)")
    lines += _training(model)
    lines += (manifest.get("gate") or {}).get("says", [])
    return [*lines, _seconds(manifest), *manifest["notes"]]


def _seconds(manifest: Mapping[str, Any]) -> str:
    seconds = manifest["timings"]["seconds_by_step"]
    return "seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())


def _training(model: Mapping[str, Any]) -> list[str]:
    """How the model was fitted; nothing for one of an older version."""
    facts, warm = model.get("training"), model.get("warm_started")
    if not facts:
        return []
    speed = f", {facts['examples_per_second']:,} a second" if facts["examples_per_second"] else ""
    peak = facts["peak_rss_bytes"] / 1e9
    lines = [f"training: {facts['examples']:,} examples{speed}, the process took {peak:.1f} GB at most"]
    if warm and warm["from"]:
        lines.append(f"warm start from {warm['from']}: {warm['copied']:,} known rows and {warm['new']:,} new ones")
    elif warm:
        lines.append(f"no warm start: {warm['reason']}")
    return lines


def _preview(console: Console, night: Night) -> None:
    for entity, tables in (("user", ("user2item",)), ("item", ("item2item", "item2user"))):
        offered = [table for table in tables if table in night.manifest["tables"]]
        if not offered:
            continue
        for name in night.typical(entity, _PREVIEW_IDS):
            _one_preview(console, night, entity, name, offered)


def _one_preview(console: Console, night: Night, entity: str, name: str, tables: Sequence[str]) -> None:
    console.print(Text(f"\n{entity} {name}" if entity == "user" else f"\n{night.label('item', [name])[name]}", "bold"))
    if entity == "user":
        _last_items(console, night, name)
    for table in tables:
        _names(console, night, table, name, _PREVIEW_ROWS)


def _last_items(console: Console, night: Night, user: str) -> None:
    profile = night.profiles("user", [user], ["history"])
    history = profile.column("history")[0].as_py() if profile.num_rows else None
    if history:
        last = history[::-1][:_PREVIEW_ROWS]
        labels = night.label("item", last)
        console.print(
            Text(f"  {'last' if night.timed else 'among theirs'}: {'; '.join(labels[name] for name in last)}")
        )


def _names(console: Console, night: Night, table: str, query: str, count: int) -> None:
    rows = night.rows(table, [query]).slice(0, count)
    names = rows.column(2).to_pylist()
    entity = "item" if table.endswith("item") else "user"
    labels = night.label(entity, names) if entity == "item" else {name: f"user {name}" for name in names}
    text = (
        "; ".join(labels[name] for name in names)
        if names
        else f"nothing (the reason is in {night.place}, at tables.{table}.not_served)"
    )
    console.print(Text(f"  {_TITLES[table]}: {text}"))


def _one(console: Console, night: Night, entity: str, name: str, ds: str) -> None:
    profile = night.profiles(entity, [name], ["events"])
    if not profile.num_rows:
        raise InputError(f"{entity} {name!r} is not in the night of {ds}; ids are matched exactly, as text")
    label = night.label(entity, [name])[name]
    console.print(Text(f"{entity} {name}" + (f", {label}" if label != name else ""), "bold"))
    until = f" up to {ds}" if night.timed else ""
    console.print(f"{profile.column('events')[0].as_py():,} interactions{until}")
    if entity == "user":
        _last_items(console, night, name)
    for table in night.manifest["tables"]:
        if table in _TITLES and table.startswith(entity):
            _ranking(console, night, table, name)


def _ranking(console: Console, night: Night, table: str, query: str) -> None:
    rows = night.rows(table, [query])
    shown = rows.slice(0, _SHOWN_ROWS)
    entity = "item" if table.endswith("item") else "user"
    names = shown.column(2).to_pylist()
    labels = night.label(entity, names)
    console.print(f"\n[bold]{table}[/bold] ({rows.num_rows} rows)")
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("rank", justify="right")
    grid.add_column(shown.column_names[2])
    grid.add_column("label")
    grid.add_column("score", justify="right")
    for rank, name, score in zip(shown.column(1).to_pylist(), names, shown.column(3).to_pylist(), strict=True):
        grid.add_row(str(rank), Text(name), Text(labels[name] if labels[name] != name else ""), f"{score:.4f}")
    if names:
        console.print(grid)
    else:
        console.print(
            Text(f"no rows; {night.place} counts the ids that get none by reason, at tables.{table}.not_served")
        )
