"""What a search came to, for people, on standard output."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recbatch.tuning.progress import Row, values_text

_SHOWN = 10
_EXPLAINED = 3
_METRICS = {"recall@10": "heldout_recall_at_10", "recall@100": "heldout_recall_at_100", "NDCG@10": "heldout_ndcg_at_10"}


def show_trials(rows: Sequence[Row], configured: Mapping[str, Any]) -> None:
    """Print the best trials, what the first of them changed of the configured values, and what became of the others."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    fitted = [row for row in rows if row["score"] is not None and row["same_as"] is None]
    scored = sorted(fitted, key=lambda row: (-row["score"], -row["metrics"][_METRICS["NDCG@10"]], row["trial"]))
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("trial", "score", *_METRICS, "epochs", "seconds"):
        grid.add_column(name, justify="right")
    for row in scored[:_SHOWN]:
        metrics = (f"{row['metrics'][name]:.4f}" if name in row["metrics"] else "" for name in _METRICS.values())
        grid.add_row(str(row["trial"]), f"{row['score']:.4f}", *metrics, str(row["epochs"]), f"{row['seconds']:.0f}")
    if scored:
        console.print(grid)
    for row in scored[:_EXPLAINED]:
        console.print(Text(f"trial {row['trial']}: {_changes(row, configured)}"))
    states = Counter(row["state"] for row in rows)
    console.print(Text(f"{len(rows)} trials: " + ", ".join(f"{count} {state}" for state, count in states.items())))
    for row in [row for row in rows if row["state"] == "failed"][:_EXPLAINED]:
        console.print(Text(f"trial {row['trial']} failed: {row['reason']}"))


def _changes(row: Row, configured: Mapping[str, Any]) -> str:
    if row["as_configured"]:
        return "the configuration as it is"
    values = row["parameters"]
    return values_text({name: value for name, value in values.items() if configured[name] != value})
