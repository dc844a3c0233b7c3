"""Our figures beside those that the tutorials print."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.quality.figures import Figures, Line
from benchmarks.quality.systems import PUBLISHED, SYSTEMS, Published


@dataclass(frozen=True)
class Reproduction:
    """One published figure and ours.

    Attributes:
        line: our model.
        published: who printed what.
        figure: name of the figure; empty where none was printed.
        verdict: ``yes``, ``yes, better: `` and why, ``no``, or why it cannot be said.
        program: the tutorial's own program on our splits, where it was run.
    """

    line: Line
    published: Published
    figure: str
    verdict: str
    program: Line | None

    @property
    def difference(self) -> float | None:
        """Ours less the published."""
        ours = self.line.means.get(self.figure)
        return None if ours is None or not self.figure else ours.value - self.published.figures[self.figure]


def reproductions(figures: Figures) -> list[Reproduction]:
    """A row per published figure, and one per model that somebody described without a figure."""
    rows = []
    for name, published in PUBLISHED.items():
        place = (SYSTEMS[name].dataset, SYSTEMS[name].protocols[0])
        line = figures.line(name, *place)
        program = figures.line(published.program, *place) if published.program else None
        for figure in published.figures or {"": 0.0}:
            row = Reproduction(line, published, figure, "", program)
            rows.append(replace(row, verdict=_reproduced(row)))
    return rows


def _reproduced(row: Reproduction) -> str:
    if row.difference is None:
        return row.line.not_run or "no figure to compare"
    if abs(row.difference) <= row.published.tolerance:
        return "yes"
    if row.difference < 0:
        return "no"
    theirs = row.program and row.program.means.get(row.figure)
    if theirs and abs(row.line.means[row.figure].value - theirs.value) <= row.published.tolerance:
        return "yes, better: so is the tutorial's own program on these splits"
    return "yes, better: same model; the reason is not known"
