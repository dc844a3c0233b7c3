"""Timestamps of all kinds, time zones, as-of, and units that were declared wrongly."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interactions_data import config_of, read_all, spec_of, write

from recbatch.config.models import Config
from recbatch.errors import InputError
from recbatch.interactions import SliceData, check_counts, end_of_day_us
from recbatch.interactions.times import to_times

NOON = datetime.datetime(2024, 7, 1, 12, 30, 15, 250_000, tzinfo=datetime.UTC)
NOON_US = int(NOON.timestamp() * 1_000_000)


def config_for(tmp_path: Path, values: Any, unit: str | None = None, zone: str = "UTC") -> Config:
    size = len(values)
    path = write(tmp_path / "e.parquet", {"user_id": ["u"] * size, "item_id": ["i"] * size, "at": values})
    return config_of(path, columns={"timestamp": "at"}, interactions_options={"timestamp_unit": unit}, time_zone=zone)


def read(tmp_path: Path, values: Any, unit: str | None = None, zone: str = "UTC") -> SliceData:
    return read_all(config_for(tmp_path, values, unit, zone))


def times(tmp_path: Path, values: Any, unit: str | None = None, zone: str = "UTC") -> list[int]:
    found: list[int] = read(tmp_path, values, unit, zone).table["timestamp"].to_pylist()
    return found


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_numbers_of_each_unit(tmp_path: Path, unit: str, per_second: int) -> None:
    value = NOON_US * per_second // 10**6
    expected = value * 10**6 // per_second
    assert times(tmp_path, pa.array([value], pa.int64()), unit) == [expected]
    assert times(tmp_path, pa.array([value], pa.uint64()), unit) == [expected]
    assert times(tmp_path, [str(value)], unit) == [expected]


def test_fractions_of_seconds(tmp_path: Path) -> None:
    assert times(tmp_path, [NOON_US / 1e6], "s") == [NOON_US]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrow_timestamps(tmp_path: Path, unit: str) -> None:
    expected = NOON_US if unit != "s" else NOON_US // 10**6 * 10**6
    value = pa.array([NOON.replace(tzinfo=None)], pa.timestamp("us"))
    naive = value.cast(pa.timestamp(unit), safe=False)
    assert times(tmp_path, naive) == [expected]
    aware = naive.cast(pa.timestamp(unit, "America/New_York"))
    assert times(tmp_path, aware) == [expected]
    assert times(tmp_path, aware, zone="Asia/Tokyo") == [expected]
    assert times(tmp_path, naive, zone="Asia/Tokyo") == [expected - 9 * 3600 * 10**6]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates_begin_in_the_time_zone(tmp_path: Path, kind: pa.DataType) -> None:
    midnight = int(datetime.datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()) * 10**6
    assert times(tmp_path, pa.array([NOON.date()], kind), zone="Europe/Berlin") == [midnight]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-07-01T12:30:15.250Z", NOON_US),
        ("2024-07-01 14:30:15.25+02:00", NOON_US),
        ("2024-07-01T14:30:15.250000999+0200", NOON_US),
        ("2024-07-01T14:30:15.250+02", NOON_US),
        ("2024-07-01T12:30:15.250", NOON_US),
        ("2024-07-01 12:30:15.250000999", NOON_US),
        ("2024-07-01T12:30", NOON_US - 15_250_000),
        ("2024-07-01T12", NOON_US - 15_250_000 - 1800 * 10**6),
        ("2024-07-01", NOON_US - 15_250_000 - 45_000 * 10**6),
    ],
)
def test_iso_text(tmp_path: Path, text: str, expected: int) -> None:
    assert times(tmp_path, [text], "iso") == [expected]
    assert times(tmp_path, pa.array([text, text]).dictionary_encode(), "iso") == [expected] * 2


def test_iso_text_without_offset_is_local_time(tmp_path: Path) -> None:
    assert times(tmp_path, ["2024-07-01T14:30:15.250"], "iso", "Europe/Berlin") == [NOON_US]
    assert times(tmp_path, ["2024-07-01T12:30:15.250Z"], "iso", "Europe/Berlin") == [NOON_US]


def test_repeated_and_skipped_hours(tmp_path: Path) -> None:
    berlin = ["2024-10-27T02:30:00", "2024-03-31T02:30:00"]
    expected = [datetime.datetime(2024, 10, 27, 0, 30), datetime.datetime(2024, 3, 31, 1, 0)]
    assert times(tmp_path, berlin, "iso", "Europe/Berlin") == [
        int(when.replace(tzinfo=datetime.UTC).timestamp()) * 10**6 for when in expected
    ]


@pytest.mark.parametrize(
    "text",
    ["yesterday", "", "2024-02-30", "2023-02-29", "2024-13-01", "2024-01-01T24:00", "2024-01-01T12:60", "20240101",
     "2024-1-1", "2024-01-01T12:00 Z", "2024-01-01Z", "01/02/2024", "2024-01-01T12:00:00.", "2024-00-10"],
)  # fmt: skip
def test_text_that_cannot_be_parsed_is_put_aside(tmp_path: Path, text: str) -> None:
    data = read(tmp_path, ["2024-02-29", text, "2024-07-01"], "iso")
    assert data.table.num_rows == 2
    assert data.quarantined.select(["row", "column", "reason"]).to_pylist() == [
        {"row": 1, "column": "at", "reason": "cannot be parsed"}
    ]


def test_digits_that_cannot_be_parsed(tmp_path: Path) -> None:
    data = read(tmp_path, ["1700000000", "n/a", None, "1.5", "1700000001"], "s")
    assert data.table["timestamp"].to_pylist() == [1_700_000_000_000_000, 1_700_000_001_000_000]
    assert data.quarantined["reason"].to_pylist() == ["cannot be parsed", "is null", "cannot be parsed"]


def test_nulls_and_infinite_times(tmp_path: Path) -> None:
    data = read(tmp_path, [1.7e9, None, float("nan"), float("inf"), 1.8e9], "s")
    assert data.table.num_rows == 2
    assert data.quarantined["reason"].to_pylist() == ["is null", "cannot be parsed", "cannot be parsed"]


def test_text_with_and_without_offset_must_not_mix(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"columns.timestamp: column 'at' of .*are mixed, such as '2024-07-01T12:00Z' and"
    ):
        read(tmp_path, ["2024-07-01", "2024-07-01T12:00Z"], "iso")


def test_text_with_and_without_offset_must_not_mix_across_files(tmp_path: Path) -> None:
    for name, text in (("1", "2024-07-01T12:00Z"), ("2", "2024-07-01T12:00")):
        write(tmp_path / f"{name}.parquet", {"user_id": ["u"], "item_id": ["i"], "at": [text]})
    config = config_of(str(tmp_path), columns={"timestamp": "at"}, interactions_options={"timestamp_unit": "iso"})
    with pytest.raises(InputError, match="1 times have an offset and 1 have none"):
        read_all(config)  # one slice
    for number, text in (("1", "2024-07-01T12:00Z"), ("2", "2024-07-01T12:00")):
        rows = ["u"] * 1000
        write(tmp_path / f"{number}.parquet", {"user_id": rows, "item_id": rows, "at": [text] * 1000})
    counts = read_all(config, slice_rows=1000).counts
    with pytest.raises(InputError, match="1000 times have an offset and 1000 have none"):
        check_counts("interactions", counts, spec_of(config), where="there")


def test_single_times_outside_1970_to_2100_are_put_aside(tmp_path: Path) -> None:
    data = read(tmp_path, [1_700_000_000, -1, 4_102_444_800, 0, 4_102_444_799, 2**62], "s")
    assert data.table["timestamp"].to_pylist() == [1_700_000_000 * 10**6, 0, 4_102_444_799 * 10**6]
    assert data.quarantined["row"].to_pylist() == [1, 2, 5]
    assert set(data.quarantined["reason"].to_pylist()) == {"is outside 1970-2100"}


@pytest.mark.parametrize("declared", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("real", ["s", "ms", "us", "ns"])
def test_a_wrong_unit_is_an_error_that_suggests_the_right_one(tmp_path: Path, declared: str, real: str) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[real]
    values = [second * per_second for second in (880_000_000, 1_700_000_000, 1_700_000_001)]
    if declared == real:
        assert len(times(tmp_path, values, declared)) == 3
        return
    with pytest.raises(
        InputError, match=rf"when read as {declared}; read as {real}, 3 of them.*timestamp_unit: {real}$"
    ):
        read(tmp_path, values, declared)


def test_small_numbers_that_only_order_the_events_are_fine(tmp_path: Path) -> None:
    for unit in ("s", "ms", "us", "ns"):
        assert len(times(tmp_path, list(range(100)), unit)) == 100


def test_typed_times_far_away_suggest_no_unit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 of 2 timestamps lie outside.*no unit would fit; check the column"):
        read(tmp_path, pa.array([-(10**17), -(10**17)], pa.timestamp("us")))


def test_a_small_file_is_not_judged_alone(tmp_path: Path) -> None:
    fine, wrong = list(range(1_700_000_000, 1_700_000_100)), [-5]
    for name, values in (("1", fine), ("2", wrong)):
        rows = ["u"] * len(values)
        write(tmp_path / f"{name}.parquet", {"user_id": rows, "item_id": rows, "at": values})
    config = config_of(str(tmp_path), columns={"timestamp": "at"}, interactions_options={"timestamp_unit": "s"})
    data = read_all(config, slice_rows=100)
    assert (data.counts["accepted"], data.counts["quarantined"]) == (100, 1)


def test_events_at_or_after_as_of_are_counted_and_dropped(tmp_path: Path) -> None:
    end = end_of_day_us(datetime.date(2024, 7, 1), ZoneInfo("Europe/Berlin"))
    assert end == int(datetime.datetime(2024, 7, 1, 22, tzinfo=datetime.UTC).timestamp()) * 10**6
    config = config_for(tmp_path, [end - 1, end, end + 1, -1, 0], "us")
    data = read_all(config, as_of_us=end)
    assert data.table["timestamp"].to_pylist() == [end - 1, 0]
    assert (data.counts["after_as_of"], data.counts["quarantined"], data.counts["accepted"]) == (2, 1, 2)


def test_the_day_before_a_change_of_the_clock_has_its_own_length() -> None:
    zone = ZoneInfo("Europe/Berlin")
    day = [end_of_day_us(datetime.date(2024, 3, day), zone) for day in (29, 30, 31)]
    assert [later - earlier for earlier, later in itertools.pairwise(day)] == [
        24 * 3600 * 10**6,
        23 * 3600 * 10**6,
    ]


def test_without_timestamps_as_of_drops_nothing(tmp_path: Path) -> None:
    config = config_of(write(tmp_path / "e.parquet", {"user_id": ["u"], "item_id": ["i"]}))
    data = read_all(config, as_of_us=0)
    assert data.table.num_rows == 1
    assert "timestamp" not in data.table.column_names


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)).map(datetime.datetime.isoformat),
            st.text("0123456789-T:.Z+ ", max_size=25),
        ),
        max_size=20,
    )
)
def test_iso_text_against_the_standard_library(texts: list[str | None]) -> None:
    texts = [text for text in texts if text is None or not text.endswith("Z")]
    texts = [text for text in texts if text is None or "T" not in text or "+" not in text]
    try:
        found = to_times(pa.array(texts, pa.string()), "iso", "UTC", "here").values.to_pylist()
    except InputError:  # an offset was among them after all
        return
    low, high = datetime.datetime(1970, 1, 1), datetime.datetime(2100, 1, 1)
    for text, value in zip(texts, found, strict=True):
        if value is None and text is not None and len(text) >= 19:
            try:
                when = datetime.datetime.strptime(
                    text[:26], "%Y-%m-%dT%H:%M:%S.%f" if "." in text else "%Y-%m-%dT%H:%M:%S"
                )
            except ValueError:
                continue
            assert not low <= when < high, text
        elif value is not None:
            assert text is not None
            assert value == (datetime.datetime.fromisoformat(text[:26]) - low) // datetime.timedelta(microseconds=1)
