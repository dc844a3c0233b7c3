"""Which cells there are, the cheap and decisive ones first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.quality.cells import Cell, Kind
from benchmarks.quality.datasets import DATASETS, LARGE, SMALL, SPARSE
from benchmarks.quality.peers import PEERS, Parameters
from benchmarks.quality.protocols import QUICK_TRIALS, TRIALS, USES
from benchmarks.quality.systems import PUBLISHED, SYSTEMS, TABLES, Table
from recbatch.evaluation.protocols import PROTOCOLS

_QUICK_PROTOCOLS = "BACD"
_QUICK_REPRODUCED = ("basic", "context-without", "context")
_QUICK_PEERS = ("popularity", "recent-popularity", "heldout-popularity", "markov", "knn", "ials", "ease")
_LARGE_FIRST = 3
"""Splits or seeds of MovieLens 1M that are made before the long trainings of MovieLens 100K; the others come last."""


@dataclass(frozen=True)
class Planned:
    """A cell, and the search that its parameters come from."""

    cell: Cell
    search: Cell | None = None

    def with_parameters(self, parameters: Parameters) -> Cell:
        """The cell with what the search has found."""
        return replace(self.cell, parameters=parameters)


def plan(*, quick: bool, seed: int) -> list[Planned]:
    """All cells of a run in the order in which they are made; a search comes before the cells that need it.

    Args:
        quick: fewer splits, protocols, peers and trials, MovieLens 100K alone.
        seed: of the first split and training; the others follow.
    """
    planned: list[Planned] = []
    for table in TABLES:
        if table.dataset == SMALL and table.protocol in _QUICK_PROTOCOLS:
            planned += _of_peers(table, quick=quick, seed=seed)
    for table in TABLES:
        if table.dataset == SMALL and (not quick or table.protocol in _QUICK_PROTOCOLS):
            planned += _of_systems(table, quick=quick, seed=seed)
    planned += _reproductions(SMALL, quick=quick, seed=seed, only=_QUICK_REPRODUCED if quick else None, long=False)
    if not quick:
        for table in TABLES:
            if table.protocol not in _QUICK_PROTOCOLS and table.dataset == SMALL:
                planned += _of_peers(table, quick=quick, seed=seed)
        for table in TABLES:
            if table.dataset == SPARSE:
                planned += [*_of_peers(table, quick=quick, seed=seed), *_of_systems(table, quick=quick, seed=seed)]
        large = _large(seed)
        planned += [part for part in large if part.cell.seed < seed + _LARGE_FIRST]
        planned += _reproductions(SMALL, quick=False, seed=seed, only=None, long=True)
        planned += [part for part in large if part.cell.seed >= seed + _LARGE_FIRST]
    return _without_doubles(planned)


def _large(seed: int) -> list[Planned]:
    """MovieLens 1M: one seed of everything, searches and peers first, before the second of anything."""
    tables = [table for table in TABLES if table.dataset == LARGE]
    found = [part for table in tables for part in _of_peers(table, quick=False, seed=seed)]
    found += [part for table in tables for part in _of_systems(table, quick=False, seed=seed)]
    found += _reproductions(LARGE, quick=False, seed=seed, only=None, long=False)
    return sorted(found, key=lambda part: part.cell.seed)


def _of_peers(table: Table, *, quick: bool, seed: int) -> list[Planned]:
    """All searches before the first cell that waits for one, so that they can go on side by side."""
    return sorted(_searched(table, quick=quick, seed=seed), key=lambda part: part.cell.kind != "search")


def _searched(table: Table, *, quick: bool, seed: int) -> Iterator[Planned]:
    for name, peer in PEERS.items():
        if table.protocol not in peer.protocols or table.dataset not in peer.datasets:
            continue
        if quick and name not in _QUICK_PEERS:
            continue
        cell = _cell("peer", name, table.dataset, table.protocol, seed)
        if peer.space:
            trials = QUICK_TRIALS if quick else TRIALS
            inner = USES[table.protocol].validations if DATASETS[table.dataset].inner_splits else 1
            search = replace(cell, kind="search", trials=trials, validations=inner)
            yield Planned(search)
        else:
            search, cell = None, replace(cell, parameters=dict(peer.starts[0]))
        alike = not PROTOCOLS[table.protocol].random and not peer.seeded  # then another seed is the same again
        for repeat in range(1 if alike else _repeats(table.protocol, table.dataset, quick=quick)):
            yield Planned(replace(cell, seed=seed + repeat), search)


def _of_systems(table: Table, *, quick: bool, seed: int) -> Iterator[Planned]:
    for name in table.systems:
        if quick and not SYSTEMS[name].quick:
            continue
        yield from _of_system(name, table.protocol, quick=quick, seed=seed)


def _of_system(name: str, protocol: str, *, quick: bool, seed: int) -> Iterator[Planned]:
    system = SYSTEMS[name]
    repeats = _repeats(protocol, system.dataset, quick=quick)
    for repeat in range(repeats if system.repeats is None or quick else min(system.repeats, repeats)):
        kind: Kind = "program" if system.program else "two-tower"
        cell = _cell(kind, name, system.dataset, protocol, seed + repeat)
        training = f"model.training.seed={42 + seed + repeat}"
        yield Planned(replace(cell, config=system.config, overrides=(*system.overrides, training)))


def _reproductions(
    dataset: str, *, quick: bool, seed: int, only: tuple[str, ...] | None, long: bool
) -> Iterator[Planned]:
    for name, published in PUBLISHED.items():
        system = SYSTEMS[name]
        if system.dataset == dataset and system.long == long and (only is None or name in only):
            for part in (name, published.program) if published.program else (name,):
                yield from _of_system(part, system.protocols[0], quick=quick, seed=seed)


def _cell(kind: Kind, name: str, dataset: str, protocol: str, seed: int) -> Cell:
    reading = DATASETS[dataset]
    return Cell(kind, name, dataset, protocol, seed, reading.reading, (*reading.overrides, *USES[protocol].reading))


def _repeats(protocol: str, dataset: str, *, quick: bool) -> int:
    use = USES[protocol]
    return DATASETS[dataset].repeats(use.quick_repeats if quick else use.repeats)


def _without_doubles(planned: list[Planned]) -> list[Planned]:
    return list({part.cell.stem: part for part in planned}.values())
