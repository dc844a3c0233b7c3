"""A plan for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbatch.config.models import Entity
from recbatch.interactions import SourceName
from recbatch.planning.forecast import Forecast
from recbatch.planning.prediction import seconds_by_step

_WIDTH = 118
_KINDS = {"slices": "cleaned inputs", "shards": "parts of shards", "process": "the process itself"}


def show_forecast(found: Forecast) -> None:
    """Print what the night has to do, how long it takes and what it needs to standard output."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    night = found.work.night
    console.print()
    console.print(Text.assemble((f"Night of {night.ds}", "bold"), ", before anything is run"))
    console.print(_inputs(found))
    console.print(_tables(found))
    console.print(_stages(found))
    steps = ", ".join(f"{name} {_seconds(value)}" for name, value in seconds_by_step(found.stages).items())
    console.print(Text(f"as the manifest will count work items, two at a time: {steps}"))
    console.print(_bytes("output", found.output, sum(found.output.values())))
    memory = {name: size for name, size in found.memory.items() if name != "peak"}
    console.print(_bytes("memory on this machine", memory, found.memory["peak"], total="at most at a time"))
    for sentence in _dataflow(found):
        console.print(Text(sentence))
    for sentence in found.not_predicted:
        console.print(Text(f"not predicted: {sentence}", "yellow"))


def _inputs(found: Forecast) -> Table:
    sizes = found.work.sizes
    table = _table("input", "rows", "slices", "ids", "ranges", "counted from")
    events = sizes.rows["interactions"]
    table.add_row("interactions", f"{events:,}", f"{len(sizes.slices['interactions']):,}", "", "", "the files' footers")
    named: dict[Entity, SourceName] = {"user": "users", "item": "items"}
    for entity, size in sizes.entities.items():
        source = named[entity]
        there = source in sizes.rows
        rows = f"{sizes.rows[source]:,}" if there else ""
        slices = f"{len(sizes.slices[source]):,}" if there else ""
        about = "" if size.exact else "about "
        table.add_row(source, rows, slices, f"{about}{size.ids:,}", f"{len(size.ranges):,}", size.source)
    return table


def _tables(found: Forecast) -> Table:
    table = _table("table", "queries", "candidates", "shards", "rows", "search", "why")
    work = found.work
    for job in work.night.jobs:
        rates = work.calibration.tables.get(job.name)
        table.add_row(
            job.name,
            f"{sum(work.vectors(job.queries)):,}",
            f"{sum(work.vectors(job.candidates)):,}",
            f"{len(work.shards.of(job.name)):,}",
            f"{found.rows[job.name]:,}",
            "none" if rates is None else rates.method,
            "there are no ids" if rates is None else rates.reason,
        )
    return table


def _stages(found: Forecast) -> Table:
    table = _table("stage", "here", "work items", "how")
    for stage in found.stages:
        table.add_row(stage.name, _seconds(stage.seconds), f"{stage.items:,}", stage.reason)
    cores = found.work.calibration.cores
    table.add_row(
        "all", _seconds(found.seconds), "", f"with {cores:.1f} cores, as many as this process gets now", style="bold"
    )
    return table


def _dataflow(found: Forecast) -> Sequence[str]:
    fleet, worker = found.fleet, found.worker["peak"]
    if fleet is None:
        return [
            f"Dataflow: no machine type holds the {_size(worker)} of a worker; lower index.memory_gib or run.range_ids"
        ]
    machine = fleet.machine
    late = "" if fleet.in_time else f" ({fleet.remark})"
    return [
        f"Dataflow: {fleet.workers:,} x {machine.name} ({machine.vcpus} vCPUs, {machine.memory_gb} GB; "
        f"a worker needs {_size(worker)}), {fleet.hours:.2f} h of the {found.hours:g} that were asked for{late}: "
        f"about {fleet.vcpu_hours:,.1f} vCPU-hours and {fleet.gb_hours:,.1f} GB-hours"
    ]


def _bytes(name: str, sizes: Mapping[str, int], whole: int, total: str = "all") -> Text:
    parts = ", ".join(
        f"{_KINDS.get(kind, kind.replace('_', ' '))} {_size(size)}" for kind, size in sizes.items() if size
    )
    return Text.assemble((f"{name}: ", "bold"), f"{_size(whole)} {total} ({parts})")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(columns):
        last = place == len(columns) - 1 or name == "search"
        table.add_column(name, justify="left" if place == 0 or last else "right", overflow="fold")
    return table


def _seconds(value: float) -> str:
    if value < 90:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


def _size(value: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
