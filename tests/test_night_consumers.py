"""What other systems make of a published night: DuckDB, Polars and pandas, whole tables and lookups of one id."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night_bundles import given_bundle
from night_oracle import SIDES
from night_planted import ODD_IDS
from world import DS, Published, pairs_world, random_vectors, run

from recbatch.errors import InputError
from recbatch.schemas import arrow_schema, columns
from recbatch.tables.read import lookup, read_table
from recbatch.work import search

EMBEDDINGS = ("user_embeddings", "item_embeddings")
TABLES = (*SIDES, *EMBEDDINGS)
USERS = [*ODD_IDS, *(f"u{number}" for number in range(30))]
ITEMS = [*ODD_IDS, *(f"i{number}" for number in range(60))]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A night of several parts per table, of several row groups each (a million rows would be one)."""
    folder = tmp_path_factory.mktemp("consumers")
    rng = np.random.default_rng(0)
    world = pairs_world([(user, str(rng.choice(ITEMS))) for user in USERS], users=USERS, items=ITEMS)
    bundle = given_bundle(folder / "bundle", random_vectors(USERS), random_vectors(ITEMS))
    config = world.config(world.write(folder), {"run": {"range_ids": 20}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "queries_per_row_group", lambda k: 4)
        run(config, folder / "out", model=bundle)
    return Published(folder / "out")


def hive(published: Published, table: str) -> str:
    return str(published.output / table / "*" / "*.parquet")


@pytest.mark.parametrize("table", TABLES)
def test_the_folders(published: Published, table: str) -> None:
    files = [Path(file["path"]) for file in published.manifest["tables"][table]["files"]]
    assert published.projected(table) == ["_SUCCESS", *sorted(file.name for file in files)]
    assert len(files) >= 3
    folder = published.output / table / f"ds={DS}"
    for file in files:
        assert (folder / file.name).samefile(published.output / file)
    assert (folder / "_SUCCESS").read_text() == published.manifest["run"]
    assert [path.name for path in (published.output / table).iterdir()] == [f"ds={DS}"]


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_those_of_the_schema_file(published: Published, table: str) -> None:
    schema = arrow_schema(table)
    for file in published.manifest["tables"][table]["files"]:
        found = pq.read_schema(published.output / file["path"])
        assert found.equals(schema, check_metadata=False)
        for column in columns(table):
            assert found.field(column["name"]).metadata[b"description"].decode() == column["description"]
            assert found.field(column["name"]).nullable == (column["mode"] == "NULLABLE")
        physical = pq.ParquetFile(published.output / file["path"]).schema
        logical = [json.loads(physical.column(n).logical_type.to_json())["Type"] for n in range(len(physical.names))]
        assert logical[0] == "String"


@pytest.mark.parametrize("table", list(SIDES))
def test_duckdb_reads_a_table(published: Published, table: str) -> None:
    query, rank, candidate, score, source = arrow_schema(table).names
    with duckdb.connect() as connection:
        relation = connection.sql(f"SELECT * FROM read_parquet('{hive(published, table)}', hive_partitioning = true)")
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        assert types == {
            query: "VARCHAR",
            rank: "INTEGER",
            candidate: "VARCHAR",
            score: "FLOAT",
            source: "VARCHAR",
            "ds": "DATE",
        }
        rows = connection.sql(
            f"SELECT {query}, {rank}, {candidate}, {source} FROM relation WHERE ds = '{DS}' "
            f"ORDER BY encode({query}), {rank}"
        ).fetchall()
        found = connection.execute(
            f"SELECT {candidate} FROM relation WHERE {query} = ? ORDER BY {rank}", [ODD_IDS[3]]
        ).fetchall()
    assert rows == published.rows(table)
    assert [name for (name,) in found] == [row[2] for row in published.rows(table) if row[0] == ODD_IDS[3]]


@pytest.mark.parametrize("table", EMBEDDINGS)
def test_duckdb_reads_vectors(published: Published, table: str) -> None:
    with duckdb.connect() as connection:
        relation = connection.sql(f"SELECT * FROM read_parquet('{hive(published, table)}', hive_partitioning = true)")
        assert [str(kind) for kind in relation.types] == ["VARCHAR", "FLOAT[]", "DATE"]
        found = {name: np.array(values, np.float32) for name, values, _ in relation.fetchall()}
    expected = published.vectors(table)
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize("table", TABLES)
def test_polars_reads_a_table(published: Published, table: str) -> None:
    frame = pl.scan_parquet(hive(published, table), hive_partitioning=True).collect()
    expected = {
        "string": pl.String,
        "int32": pl.Int32,
        "float": pl.Float32,
        "list<element: float not null>": pl.List(pl.Float32),
    }
    schema = arrow_schema(table)
    assert dict(frame.schema) == {field.name: expected[str(field.type)] for field in schema} | {"ds": pl.Date}
    assert frame.drop("ds").rows() == [tuple(row.values()) for row in published.table(table).to_pylist()]


@pytest.mark.parametrize("table", TABLES)
def test_pandas_reads_a_table(published: Published, table: str) -> None:
    frame = pd.read_parquet(published.output / table)  # a folder with hive partitions, `_SUCCESS` among the files
    assert set(frame["ds"].astype(str)) == {DS}
    frame = frame.drop(columns="ds")
    expected = published.table(table).to_pandas()
    for name in expected.columns:
        assert frame[name].dtype == expected[name].dtype
        if name == "embedding":
            assert (np.stack(frame[name].tolist()) == np.stack(expected[name].tolist())).all()
        else:
            assert frame[name].tolist() == expected[name].tolist()


@pytest.mark.parametrize("table", TABLES)
def test_one_id_is_in_one_part_and_one_row_group(published: Published, table: str) -> None:
    """By the statistics that any reader has, for every id there is, and for one that is not."""
    groups = []
    for file in published.manifest["tables"][table]["files"]:
        metadata = pq.read_metadata(published.output / file["path"])
        for number in range(metadata.num_row_groups):
            statistics = metadata.row_group(number).column(0).statistics
            assert statistics.has_min_max
            groups.append((statistics.min, statistics.max))
    if table in SIDES:
        assert len(groups) > len(published.manifest["tables"][table]["files"])
    for name in {row[0] for row in published.rows(table)} if table in SIDES else published.vectors(table):
        assert sum(low.encode() <= name.encode() <= high.encode() for low, high in groups) == 1
    assert not any(low.encode() <= b"\xf4 behind everything" <= high.encode() for low, high in groups)


@pytest.mark.parametrize("table", TABLES)
def test_page_index_and_sorting_columns_are_there(published: Published, table: str) -> None:
    sorted_by = [0, 1] if table in SIDES else [0]
    for file in published.manifest["tables"][table]["files"]:
        metadata = pq.read_metadata(published.output / file["path"])
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            assert [column.column_index for column in group.sorting_columns] == sorted_by
            assert not any(column.descending for column in group.sorting_columns)
            assert group.column(0).has_column_index
            assert all(group.column(column).has_offset_index for column in range(group.num_columns))


@pytest.mark.parametrize("table", TABLES)
def test_only_texts_have_dictionaries(published: Published, table: str) -> None:
    """Ranks and scores are written in half the time without; the ids of a table of vectors occur once each."""
    for file in published.manifest["tables"][table]["files"]:
        group = pq.read_metadata(published.output / file["path"]).row_group(0)
        found = [group.column(number).has_dictionary_page for number in range(group.num_columns)]
        assert found == ([True, False, True, False, True] if table in SIDES else [False, False])


@pytest.mark.parametrize("table", list(SIDES))
def test_read_table_and_lookup(published: Published, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_table(str(published.output), table, DS)
    assert rows.schema.equals(arrow_schema(table), check_metadata=False)
    read: list[int] = []
    read_row_group = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, number: int) -> pa.Table:
        read.append(number)
        return read_row_group(file, number)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for name in (ODD_IDS[3], ODD_IDS[-1], "9"):
        read.clear()
        found = lookup(str(published.output), published.manifest, table, [name])
        assert found.to_pylist() == [row for row in rows.to_pylist() if row[rows.column_names[0]] == name]
        assert found.num_rows
        assert len(read) == 1
    read.clear()
    nobody = lookup(str(published.output), published.manifest, table, ["\U0010ffff nobody"])
    assert (nobody.num_rows, nobody.schema.names, read) == (0, rows.schema.names, [])


def test_what_is_not_published_is_an_input_error(published: Published) -> None:
    with pytest.raises(InputError, match=f"no published night of 2024-03-10; published there: {DS}"):
        read_table(str(published.output), "user2item", "2024-03-10")
    with pytest.raises(InputError, match="no table 'user2items'; it has user2item, "):
        read_table(str(published.output), "user2items", DS)


def test_row_groups_hold_about_a_million_rows() -> None:
    from recbatch.tables.rows import queries_per_row_group

    assert queries_per_row_group(100) == 10_000
    assert queries_per_row_group(3_000_000) == 1
