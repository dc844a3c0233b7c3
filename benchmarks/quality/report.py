"""docs/quality.md from the cells. Every figure on the page comes out of a cell; the template holds the words."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.quality.datasets import DATASETS
from benchmarks.quality.environments import QUALITY
from benchmarks.quality.figures import Figures, Line, Mean, comparisons, is_bound, label_of, verdict
from benchmarks.quality.protocols import QUICK_TRIALS, TRIALS, USES
from benchmarks.quality.reproducing import reproductions
from benchmarks.quality.running import Made
from benchmarks.quality.systems import TABLES
from benchmarks.quality.targets import TARGETS
from recbatch.evaluation import PROTOCOLS


@dataclass(frozen=True)
class Run:
    """What the page says of the run itself.

    Attributes:
        command: what was typed.
        quick: QUICK=1.
        seed: of the first split.
        seconds: how long it took; None where nothing was run and only the page was written.
        date: when.
    """

    command: str
    quick: bool
    seed: int
    seconds: float | None
    date: datetime.date


def render(run: Run, made: Sequence[Made]) -> str:
    """The page."""
    figures = Figures(made, "not run (QUICK=1)" if run.quick else "not run")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown
    )
    environment.filters.update(mean=_mean, number=_number, signed=_signed, gigabytes=_gigabytes)
    return environment.get_template("quality.md.j2").render(
        run=run,
        trials=QUICK_TRIALS if run.quick else TRIALS,
        machine=_machine(),
        versions=_versions(),
        protocols=PROTOCOLS,
        uses=USES,
        datasets={name: dataset.label for name, dataset in DATASETS.items()},
        verdicts=[verdict(figures, target) for target in TARGETS],
        comparisons=comparisons(figures),
        reproductions=reproductions(figures),
        tables=[
            (
                table,
                [figures.line(name, table.dataset, table.protocol) for name in table.systems]
                + figures.peers(table.dataset, table.protocol)
                + figures.peers(table.dataset, table.protocol, bounds=True),
            )
            for table in TABLES
        ],
        columns=lambda protocol: [column.name for column in USES[protocol].columns],
        best=_best,
        searches=figures.searches(),
        label=label_of,
        missing=[part for part in made if part.result is None],
        stale=[part for part in made if part.state == "older code"],
        cells=len(made),
        process_seconds=sum(part.result["wall_seconds"] for part in made if part.result is not None),
    )


def _best(lines: Sequence[Line], column: str) -> float | None:
    """The best mean of a column, which is shown bold; a bound takes no part."""
    there = [line for line in lines if column in line.means and not is_bound(line)]
    return max((line.means[column].value for line in there), default=None)


def _mean(mean: Mean | None) -> str:
    """``.1234 ± .0012``; no deviation for a single cell."""
    if mean is None:
        return ""
    return _number(mean.value) + ("" if mean.deviation is None else f" ± {_number(mean.deviation)}")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}".replace("0.", ".", 1)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{'−' if value < 0 else '+'}{_number(abs(value))}"


def _gigabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e9:.1f} GB"


def _machine() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = found[1] if found else platform.machine()
    return f"{os.cpu_count()} cores ({processor}), {memory:.0f} GiB, {platform.system()}, no GPU"


def _versions() -> dict[str, str]:
    ours = {name: metadata.version(name) for name in ("recbatch", "tensorflow", "tensorflow-recommenders", "numpy")}
    locks = [QUALITY / name / "requirements.txt" for name in ("implicit", "rectools")]
    pins = [re.search(rf"^{lock.parent.name}==(\S+)", lock.read_text(), flags=re.MULTILINE) for lock in locks]
    theirs = {lock.parent.name: pin[1] for lock, pin in zip(locks, pins, strict=True) if pin}
    return {"Python": platform.python_version()} | ours | theirs
