"""A protocol's outcome for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbatch.evaluation.results import ALL, Result
from recbatch.evaluation.runs import MODEL, Report
from recbatch.metrics import Estimate

_SHOWN = (
    "hit@10",
    "hit@100",
    "recall@10",
    "recall@100",
    "ndcg@10",
    "map@100",
    "coverage@10",
    "gini@10",
    "novelty@10",
)
_OF_GROUPS = ("hit@10", "hit@100", "ndcg@10")
_WIDTH = 118


def show_report(report: Report) -> None:
    """Print tables to standard output: every system with its intervals, then the groups."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    protocol = report.protocol
    console.print()
    console.print(Text.assemble((f"{protocol.letter}: {protocol.name}", "bold"), f"; {protocol.sentence}."))
    if report.saw_heldout is not False:
        console.print(Text(_warning(report), "bold red"))
    counts = report.splits[0]["counts"]
    shown = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in counts.items() if value)
    console.print(Text(f"{_splits(report)}: {shown}"))
    console.print(_systems(report))
    for baseline, differences in report.differences.items():
        found = differences["ndcg@10"]
        console.print(
            f"model less {baseline}: ndcg@10 {found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}], "
            f"p = {found['p']:.3f}",
            markup=False,
        )
    console.print(_groups(report))


def _warning(report: Report) -> str:
    if report.saw_heldout == "unknown":
        return (
            "Whether the model was trained on what is held out here cannot be told from its manifest; if it was, its "
            "figures are too good."
        )
    return "The model was trained on events from the time of what is held out here: its figures are too good."


def _splits(report: Report) -> str:
    seeds = [str(split["seed"]) for split in report.splits]
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"mean of seeds {', '.join(seeds)}; of the first"


def _systems(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("system")
    for metric in _SHOWN:
        table.add_column(metric, justify="right")
    for name, result in report.systems.items():
        estimates = result.groups[ALL]
        table.add_row(Text(name, "bold" if name == MODEL else ""), *(_cell(estimates, metric) for metric in _SHOWN))
    return table


def _cell(estimates: Mapping[str, Estimate], metric: str) -> Text:
    """The value, and below it its interval."""
    found = estimates.get(metric)
    if found is None:
        return Text("")
    digits = 2 if metric.startswith("novelty") else 3
    text = Text(f"{found.value:.{digits}f}")
    if found.low is not None and found.high is not None:
        text.append(f"\n{_short(found.low, digits)}-{_short(found.high, digits)}", "dim")
    return text


def _short(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if digits == 3 else text


def _groups(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("group")
    names = [name for name in (MODEL, "popularity") if name in report.systems]
    shown = [(name, metric) for name in names for metric in _OF_GROUPS]
    for name, metric in shown:
        table.add_column(f"{name}\n{metric}", justify="right")
    for group in report.systems[MODEL].groups:
        if group != ALL:
            table.add_row(group, *(_value(report.systems[name], metric, group) for name, metric in shown))
    return table


def _value(result: Result, metric: str, group: str) -> str:
    found = result.groups.get(group, {}).get(metric)
    return "" if found is None else f"{found.value:.3f}"
