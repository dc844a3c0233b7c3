"""The files of :mod:`.datasets`: where their files are and how a configuration is pointed at them.

MovieLens 100K is fetched (`recbatch data movielens-100k`). MovieLens 1M must be given: a folder with
``interactions.parquet``, ``items.parquet`` and ``users.parquet``, or GroupLens' own ``ratings.dat``, ``movies.dat`` and
``users.dat``. It is made into the columns of MovieLens 100K in a cache folder, so the same configurations read both.
The sparse world of :mod:`.worlds` is drawn into the cache folder.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.quality.cells import ROOT
from benchmarks.quality.datasets import LARGE, SMALL, SPARSE
from benchmarks.quality.worlds import write_sparse_world
from recbatch.config.load import load_config
from recbatch.datasets import fetch
from recbatch.errors import InputError

CACHE = ROOT / "benchmarks" / "quality" / ".cache"
_TABLES = ("interactions", "users", "items")
_DAT = {
    "interactions": ("ratings.dat", ("user_id", "item_id", "rating", "timestamp")),
    "items": ("movies.dat", ("item_id", "title", "genres")),
    "users": ("users.dat", ("user_id", "gender", "age", "occupation", "zip_code")),
}


@dataclass(frozen=True)
class Source:
    """A dataset that is there.

    Attributes:
        name: as in a cell.
        folder: holds the Parquet files, of the interactions at least.
        unit: of the timestamps; None: there are none.
    """

    name: str
    folder: Path
    unit: str | None = "s"

    def pointing(self, config: str) -> tuple[str, ...]:
        """The ``key=value`` words that point the inputs of a configuration file at the files.

        Raises:
            ConfigError: there is a mistake in it.
        """
        inputs = load_config(config).inputs
        read = [table for table in _TABLES if getattr(inputs, table) is not None]
        paths = [f"inputs.{table}.path={self.folder / f'{table}.parquet'}" for table in read]
        return (*paths, *(() if self.unit is None else (f"inputs.interactions.timestamp_unit={self.unit}",)))

    @property
    def checksum(self) -> str:
        """sha256 over the files."""
        digest = hashlib.sha256()
        for table in _TABLES:
            if table == "interactions" or (self.folder / f"{table}.parquet").exists():
                digest.update(hashlib.sha256((self.folder / f"{table}.parquet").read_bytes()).digest())
        return digest.hexdigest()


def movielens_100k() -> Source:
    """MovieLens 100K, fetched into data/ if it is not there."""
    folder = ROOT / "data" / "movielens-100k"
    fetch("movielens-100k", folder)
    return Source(SMALL, folder)


def movielens_1m(given: Path, cache: Path = CACHE) -> Source:
    """MovieLens 1M from the folder ``given``, rewritten under ``cache``.

    Raises:
        InputError: the folder does not hold it.
    """
    tables = _from_parquet(given) if (given / "interactions.parquet").exists() else _from_dat(given)
    folder = cache / "movielens-1m"
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in _in_common_columns(tables).items():
        pq.write_table(table, folder / f"{name}.parquet")
    return Source(LARGE, folder, unit="us")


def sparse_world(cache: Path = CACHE) -> Source:
    """The sparse synthetic world, drawn anew under ``cache``: the same in every run."""
    folder = cache / "sparse"
    write_sparse_world(folder / "interactions.parquet")
    return Source(SPARSE, folder, unit=None)


def _from_parquet(folder: Path) -> dict[str, pa.Table]:
    tables = {name: _read(folder / f"{name}.parquet") for name in _TABLES}
    for name, (_, columns) in _DAT.items():
        _require(folder / f"{name}.parquet", tables[name], columns[:1] if name == "users" else columns)
    return tables


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {error}; ML1M names a folder with MovieLens 1M") from None


def _require(path: Path, table: pa.Table, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")


def _from_dat(folder: Path) -> dict[str, pa.Table]:
    """GroupLens' files: Latin-1, no header, fields between double colons, which a control character stands in for."""
    tables = {}
    for name, (file, columns) in _DAT.items():
        path = folder / file
        if not path.exists():
            raise InputError(
                f"{folder} holds neither interactions.parquet nor {file}; ML1M names a folder with MovieLens 1M"
            )
        tables[name] = pyarrow.csv.read_csv(
            io.BytesIO(path.read_bytes().replace(b"::", b"\x01")),
            read_options=pyarrow.csv.ReadOptions(column_names=columns, encoding="latin-1"),
            parse_options=pyarrow.csv.ParseOptions(delimiter="\x01", quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={
                    column: pa.string() for column in columns if column.endswith("_id") or column == "zip_code"
                }
            ),
        )
    return tables


def _in_common_columns(tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    events, items = tables["interactions"], tables["items"]
    ids = {name: events[name].cast(pa.string()).combine_chunks() for name in ("user_id", "item_id")}
    item_ids, titles = items["item_id"].cast(pa.string()).combine_chunks(), items["title"].combine_chunks()
    users = ids["user_id"].dictionary_encode().indices.to_numpy()
    year = pc.struct_field(pc.extract_regex(titles, r"\((?P<year>\d{4})\)\s*$"), "year").cast(pa.int32())
    return {
        "interactions": pa.table(
            {
                **ids,
                "title": titles.take(pc.index_in(ids["item_id"], value_set=item_ids)),
                "rating": events["rating"].cast(pa.float32()),
                "timestamp": ordered_times(users, events["timestamp"].to_numpy()),
            }
        ),
        "users": tables["users"].set_column(
            tables["users"].column_names.index("user_id"), "user_id", tables["users"]["user_id"].cast(pa.string())
        ),
        "items": pa.table({"item_id": item_ids, "title": titles, "year": year, "genres": items["genres"]}),
    }


def ordered_times(users: NDArray[np.integer], seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times in microseconds that put every user's events into one order: by time, within a second as the rows stand.

    Two of five events share a second with the one before. GroupLens' file has an order for them, and the sequential
    tutorial keeps it (it sorts timelines by time alone, stably). Each event is put at least a microsecond after the one
    before it.

    Args:
        users: user of each event, whole numbers from 0.
        seconds: time of each event; the rows are in the order of GroupLens' file.
    """
    order, step = np.lexsort((seconds, users)), np.arange(len(users))
    low = seconds.min() * 1_000_000
    time = seconds[order] * 1_000_000 - low
    apart = users[order].astype(np.int64) * (int(time.max()) + len(users) + 1)  # so that a maximum ends with its user
    result = np.empty(len(users), np.int64)
    result[order] = np.maximum.accumulate(time - step + apart) - apart + step + low
    return result
