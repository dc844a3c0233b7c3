"""`recbatch init` recognises the columns of real datasets, and says where it only guesses."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pytest
from starter_data import DATASETS, ROWS, codes, config_of, ids, start, write, written

from recbatch.errors import InputError
from recbatch.starter import starter_config


@pytest.mark.parametrize("name", DATASETS)
def test_real_columns_are_recognised(tmp_path: Path, name: str) -> None:
    columns, expected = DATASETS[name]
    text = start(tmp_path, columns)
    interactions = config_of(text).inputs.interactions
    found = interactions.columns
    assert (
        found.user_id,
        found.item_id,
        found.timestamp,
        interactions.timestamp_unit,
        found.weight,
        found.event_type,
    ) == expected
    assert "CHECK:" not in text


def test_columns_without_telling_names_are_guesses_to_check(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "recbatch"):
        text = start(tmp_path, {"number": pa.array(range(ROWS)), "left": ids(50), "right": codes(60)})
    columns = config_of(text).inputs.interactions.columns
    assert (columns.user_id, columns.item_id) == ("left", "right")
    assert "user_id: left  # CHECK: no column is named like a user id; could be: left, right, number" in text
    assert "user_id: left is a guess (no column is named like a user id" in caplog.text


def test_two_columns_that_fit_are_to_be_checked(tmp_path: Path) -> None:
    text = start(tmp_path, {"customer_id": codes(50), "user_id": codes(50), "item_id": codes(60)})
    assert "user_id: user_id  # CHECK: by its name; could also be: customer_id" in text


def test_values_of_the_users_table_tell_which_column_is_the_user(tmp_path: Path) -> None:
    events = {"product": codes(60), "right": ids(50), "left": codes(60)}
    users = write(tmp_path / "u.parquet", {"id": pa.array(range(50))})
    text = starter_config(write(tmp_path / "e.parquet", events), users=users)
    assert "user_id: right  # 100% of its values are ids of the users table" in text


def test_a_users_table_of_other_ids_is_to_be_checked(tmp_path: Path) -> None:
    users = write(tmp_path / "u.parquet", {"user_id": codes(9)})
    text = starter_config(write(tmp_path / "e.parquet", {"user_id": ids(50), "item_id": ids(60)}), users=users)
    assert "id: user_id  # CHECK: by its name; 0% of the user ids in the interactions" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array([20240131] * ROWS), "CHECK: date looks like days written as numbers (20240131), which are not read"),
        (written("%d.%m.%Y"), "CHECK: date looks like a time, but is not ISO 8601 text (2024-01-31T12:00:00)"),
    ],
)
def test_times_that_cannot_be_read_are_not_mapped(tmp_path: Path, values: pa.Array, said: str) -> None:
    text = start(tmp_path, {"user": ids(50), "item": ids(60), "date": values})
    assert said in text
    assert config_of(text).inputs.interactions.columns.timestamp is None


def test_a_weight_with_gaps_is_not_mapped_unasked(tmp_path: Path) -> None:
    text = start(
        tmp_path, {"user": ids(50), "item": ids(60), "rating": pa.array([None, 3.0, float("nan")] * (ROWS // 3))}
    )
    assert "# weight: rating  # not used: 200 of 300 rows looked at have no number here" in text
    assert config_of(text).inputs.interactions.columns.weight is None


def test_a_file_without_rows_goes_by_names(tmp_path: Path) -> None:
    columns = config_of(
        start(tmp_path, {"buyer": pa.array([], pa.string()), "sku": pa.array([], pa.int64())})
    ).inputs.interactions
    assert (columns.columns.user_id, columns.columns.item_id) == ("buyer", "sku")


def test_rows_with_nan_are_remarked(tmp_path: Path) -> None:
    heights = pa.array([float("nan"), None, *range(ROWS - 2)], pa.float64(), from_pandas=False)
    text = starter_config(
        write(tmp_path / "e.parquet", {"user_id": ids(50), "item_id": ids(60)}),
        users=write(tmp_path / "u.parquet", {"user_id": ids(50), "height": heights}),
    )
    assert "numbers from 0 to 297; 1 rows with NaN would be put aside, a null is read as the mean: write null" in text


def test_no_interactions_are_an_input_error(tmp_path: Path) -> None:
    empty = {"user_id": pa.array([], pa.int64()), "item_id": pa.array([], pa.int64())}
    with pytest.raises(InputError, match=r"INTERACTIONS: the files of .*e.parquet hold no rows"):
        starter_config(write(tmp_path / "e.parquet", empty))
