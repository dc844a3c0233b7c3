"""From cells to figures: means over splits, targets met or missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.measuring import COMPARED, unpacked_sums
from benchmarks.quality.peers import PEERS
from benchmarks.quality.running import Made
from benchmarks.quality.systems import SYSTEMS, TABLES, Table
from benchmarks.quality.targets import BEST_PEER, Target
from recbatch.evaluation import PROTOCOLS
from recbatch.metrics import Difference, compare

REASONS: Mapping[str, str] = {
    "time": "not run (time)",
    "no data": "not run (no ML1M folder)",
    "no configuration": "not run (there is no such configuration)",
    "no parameters": "not run (its search failed)",
    "failed": "failed",
    "missing": "not run",
}
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Mean:
    """The mean of a figure over the cells that have it, their standard deviation (None for one cell), their number."""

    value: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Line:
    """One system on one protocol.

    Attributes:
        system, label: who.
        cells: its cells, by seed.
        means: figure -> mean.
        not_run: in words what is missing; empty when all cells are there.
        seconds, peak_bytes: mean time and largest memory of a cell; None without any.
    """

    system: str
    label: str
    cells: tuple[Made, ...]
    means: Mapping[str, Mean]
    not_run: str
    seconds: float | None
    peak_bytes: int | None

    @property
    def done(self) -> list[Made]:
        """The cells that are there."""
        return [made for made in self.cells if made.result is not None]


def label_of(system: str, protocol: str) -> str:
    """A system's name in a protocol's table."""
    if system in SYSTEMS:
        return SYSTEMS[system].label
    return PEERS[system].labels.get(protocol, PEERS[system].label)


def is_bound(line: Line) -> bool:
    """Whether the system is no rival, because it knows what is held out."""
    return line.system in PEERS and PEERS[line.system].bound


class Figures:
    """All that was made, to be asked for.

    Args:
        made: every planned cell.
        unplanned: what to say where nothing was planned, such as ``not run (QUICK=1)``.
    """

    def __init__(self, made: Sequence[Made], unplanned: str = "not run") -> None:
        self.made, self._unplanned = list(made), unplanned

    def line(self, system: str, dataset: str, protocol: str) -> Line:
        """One system on one protocol."""
        place = (system, dataset, protocol)
        cells = tuple(
            made
            for made in self.made
            if (made.cell.system, made.cell.dataset, made.cell.protocol) == place and made.cell.kind != "search"
        )
        results = [made.result for made in cells if made.result is not None]
        names = list(dict.fromkeys(name for result in results for name in result["figures"]))
        return Line(
            system,
            label_of(system, protocol),
            cells,
            {
                name: _mean([result["figures"][name] for result in results if name in result["figures"]])
                for name in names
            },
            self._missing(cells),
            float(np.mean([result["wall_seconds"] for result in results])) if results else None,
            max((result["peak_bytes"] for result in results), default=None),
        )

    def peers(self, dataset: str, protocol: str, *, bounds: bool = False) -> list[Line]:
        """The peers of a protocol; with ``bounds`` those, instead, that are no rivals."""
        there = [name for name, peer in PEERS.items() if dataset in peer.datasets and protocol in peer.protocols]
        return [self.line(name, dataset, protocol) for name in there if PEERS[name].bound is bounds]

    def searches(self) -> list[Made]:
        """The searches that are there."""
        return [made for made in self.made if made.cell.kind == "search" and made.result is not None]

    def _missing(self, cells: Sequence[Made]) -> str:
        if not cells:
            return self._unplanned
        reasons = [REASONS[made.state] for made in cells if made.result is None]
        if not reasons:
            return ""
        said = ", ".join(dict.fromkeys(reasons))
        return said if len(reasons) == len(cells) else f"{len(reasons)} of {len(cells)} {said}"


def _mean(values: Sequence[float]) -> Mean:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Mean(float(np.mean(values)), deviation, len(values))


@dataclass(frozen=True)
class Verdict:
    """A target and what came of it.

    Attributes:
        target: what was wanted.
        line: our model.
        ours: its mean, against a rival over the seeds that both have; None where it is not there.
        wanted: the number that had to be reached; None where what it is compared with is not there.
        rival: the peer that set it; None for a fixed number.
        met: None where it cannot be said, because
        unknown: something did not run: what, in words; empty where it can be said.
        test: the paired bootstrap against the rival where the target wants one.
    """

    target: Target
    line: Line
    ours: float | None
    wanted: float | None
    rival: Line | None
    met: bool | None
    unknown: str
    test: Difference | None

    @property
    def margin(self) -> float | None:
        """Ours less what was wanted."""
        return None if self.ours is None or self.wanted is None else self.ours - self.wanted


def verdict(figures: Figures, target: Target) -> Verdict:
    """Whether a target was met. It cannot be said while a cell of ours, or of a peer that may set it, did not run."""
    line = figures.line(target.system, target.dataset, target.protocol)
    peers = _rivals(figures, target)
    rival = _best_in(target.column, peers, line)
    ours, theirs = _on_common_seeds(target.column, line, rival)
    wanted = target.at_least if theirs is None else theirs - target.slack
    unknown = _unknown(target.column, line, peers)
    test = _paired(line, rival, target.column) if target.significant and rival is not None else None
    if unknown or ours is None or wanted is None:
        return Verdict(target, line, ours, wanted, rival, None, unknown or "not run (nothing to compare with)", test)
    met = ours >= wanted if not target.significant else ours > wanted
    if target.significant:
        met = met and test is not None and test.p < _SIGNIFICANT
    return Verdict(target, line, ours, wanted, rival, met, "", test)


def _rivals(figures: Figures, target: Target) -> list[Line]:
    if target.than is None:
        return []
    lines = figures.peers(target.dataset, target.protocol)
    return [line for line in lines if target.than in (BEST_PEER, line.system)]


def _unknown(column: str, line: Line, peers: Sequence[Line]) -> str:
    """What is missing for a verdict, in words; empty where nothing is."""
    if line.not_run:
        return line.not_run
    missing = [f"{peer.label}: {peer.not_run}" for peer in peers if peer.not_run]
    others = [peer.label for peer in peers if not peer.not_run and _on_common_seeds(column, line, peer)[1] is None]
    return "; ".join([*missing, *(f"{label}: measured on other splits" for label in others)])


def _on_common_seeds(column: str, line: Line, rival: Line | None) -> tuple[float | None, float | None]:
    """(mean of ours, mean of the rival's) over the seeds that both have; without a rival all of ours.

    Where the protocol has but one split, seeds are those of the trainings, and all of either side count.
    """
    ours = _by_seed(column, line)
    theirs = {} if rival is None else _by_seed(column, rival)
    if rival is not None and any(PROTOCOLS[made.cell.protocol].random for made in rival.cells):
        both = ours.keys() & theirs.keys()
        ours, theirs = ({seed: side[seed] for seed in both} for side in (ours, theirs))
    first, second = (float(np.mean(list(side.values()))) if side else None for side in (ours, theirs))
    return first, second


def _by_seed(column: str, line: Line) -> dict[int, float]:
    found = {made.cell.seed: made.result["figures"].get(column) for made in line.cells if made.result is not None}
    return {seed: value for seed, value in found.items() if value is not None}


def _best_in(column: str, peers: Sequence[Line], line: Line) -> Line | None:
    """The peer with the best mean over the seeds that it has in common with ``line``."""
    values = {peer.system: _on_common_seeds(column, line, peer)[1] for peer in peers}
    there = [peer for peer in peers if values[peer.system] is not None]
    return max(there, key=lambda peer: values[peer.system] or 0.0, default=None)


@dataclass(frozen=True)
class Comparison:
    """One of our models against the peer that is best in a figure, user by user."""

    table: Table
    line: Line
    rival: Line
    column: str
    test: Difference


def comparisons(figures: Figures) -> list[Comparison]:
    """Each of our models in B, C and N, in every compared figure that has both sides."""
    found = []
    for table in TABLES:
        peers = figures.peers(table.dataset, table.protocol)
        for name in table.systems if table.protocol in "BCN" else ():
            line = figures.line(name, table.dataset, table.protocol)
            for column in COMPARED:
                rival = _best_in(column, peers, line)
                test = None if rival is None else _paired(line, rival, column)
                if rival is not None and test is not None:
                    found.append(Comparison(table, line, rival, column, test))
    return found


def _paired(first: Line, second: Line, metric: str) -> Difference | None:
    """The paired bootstrap over the splits that both were measured on; None where there is none."""
    left, right = ({made.cell.seed: made.result for made in line.done} for line in (first, second))
    both = sorted(left.keys() & right.keys())
    sums = [[unpacked_sums(side[seed]["sums"]) for seed in both] for side in (left, right) if both]  # type: ignore[index]
    if not both or any(not np.array_equal(a.users, b.users) for a, b in zip(*sums, strict=True)):
        return None
    return compare(sums[0], sums[1], metric)
