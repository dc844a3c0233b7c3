"""Fetching a data set into a folder: from the first source that gives it, verified, whole or not at all."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recbatch.datasets import movielens
from recbatch.datasets.dataset import Dataset, Tables, verify
from recbatch.datasets.download import is_cached, obtain
from recbatch.errors import InputError, RecbatchError

logger = logging.getLogger(__name__)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (movielens.MOVIELENS_100K,)}
"""The data sets that :func:`fetch` knows; another one is another :class:`Dataset` here."""

_MARK = b"recbatch.dataset"
"""Key of the Parquet metadata that tells our files from a user's, which are never replaced."""


@dataclass(frozen=True)
class Fetched:
    """What :func:`fetch` did.

    Attributes:
        folder: where the tables are.
        rows: number of rows by table name.
        source: where they came from; None when they were there already.
        failures: why earlier sources could not be used, one sentence each.
    """

    folder: Path
    rows: dict[str, int]
    source: str | None
    failures: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = ", ".join(f"{rows:,} {name}" for name, rows in self.rows.items())
        if self.source is None:
            return f"{self.folder}: {counts}; already there and verified, nothing to do"
        return f"{self.folder}: {counts}; from {self.source}, verified"


def dataset_names() -> list[str]:
    """Names that :func:`fetch` takes."""
    return sorted(DATASETS)


def fetch(name: str, folder: str | os.PathLike[str]) -> Fetched:
    """Writes ``interactions.parquet``, ``users.parquet`` and ``items.parquet`` of a data set into a local folder.

    Does nothing when they are there with the right content. Downloads are cached for the user; a cached source is taken
    before one that must be downloaded.

    Args:
        name: one of :func:`dataset_names`.
        folder: made if absent. Files of a fetched data set in it are replaced, other files of these names never.

    Raises:
        InputError: unknown name, a folder that cannot be written to, or files there that are somebody else's.
        RecbatchError: no source could be reached, or none gave what was published.
    """
    dataset = _dataset(name)
    if "://" in str(folder):
        raise InputError(f"{folder} is not a local folder; fetch {name} into one and copy the files from there")
    target = Path(folder)
    if _is_there(dataset, target):
        return Fetched(target, {table: wanted.rows for table, wanted in dataset.tables.items()}, source=None)
    _refuse_strangers(dataset, target)
    tables, label, failures = _obtain_tables(dataset)
    _write(dataset, tables, target)
    return Fetched(target, {table: tables[table].num_rows for table in dataset.tables}, label, failures)


def _dataset(name: str) -> Dataset:
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(dataset_names())}"
    raise InputError(f"there is no data set {name!r}; {hint}")


def _obtain_tables(dataset: Dataset) -> tuple[Tables, str, tuple[str, ...]]:
    """The tables, the label of their source, and why the sources tried before gave none."""
    failures: list[str] = []
    for source in sorted(dataset.sources, key=lambda one: not is_cached(one)):
        try:
            tables = source.read(obtain(source))
            verify(tables, dataset.tables, source.label)
        except RecbatchError as error:
            logger.warning("%s", error)
            failures.append(str(error))
        else:
            return tables, source.label, tuple(failures)
    raise RecbatchError(f"{dataset.name} could not be fetched: " + "; ".join(failures))


def _is_there(dataset: Dataset, folder: Path) -> bool:
    """Whether all tables are in the folder with the right content."""
    try:
        tables = {name: pq.read_table(folder / f"{name}.parquet", partitioning=None) for name in dataset.tables}
        verify(tables, dataset.tables, str(folder))
    except (OSError, pa.ArrowException, RecbatchError, KeyError):
        return False
    return True


def _refuse_strangers(dataset: Dataset, folder: Path) -> None:
    """A file that bears a table's name but not our mark is the user's own: an error, not a thing to replace."""
    for name in dataset.tables:
        path = folder / f"{name}.parquet"
        if not path.exists():
            continue
        metadata: dict[bytes, bytes] = {}
        with contextlib.suppress(OSError, pa.ArrowException):
            metadata = pq.read_schema(path).metadata or {}
        if _MARK not in metadata:
            raise InputError(
                f"{path} is there and is not a file that recbatch fetched; move it away or name another folder"
            )


def _write(dataset: Dataset, tables: Tables, folder: Path) -> None:
    """Every table to a temporary file beside its place, then renamed into it: readers see a whole file or none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in dataset.tables:
            table = tables[name].replace_schema_metadata({_MARK: dataset.name.encode()})
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
                part = Path(scratch) / f"{name}.parquet"
                pq.write_table(table, part, compression="zstd")
                part.replace(folder / part.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror or error}); name another folder") from error
