"""Columns as real datasets have them, and what `recbatch init` should see in them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch.config.document import parse
from recbatch.config.load import resolve
from recbatch.config.models import Config
from recbatch.starter import starter_config

ROWS = 300
RANDOM = np.random.default_rng(7)


def ids(different: int) -> pa.Array:
    return pa.array(RANDOM.integers(0, different, ROWS))


def codes(different: int) -> pa.Array:
    return pa.array([f"x{value:05d}" for value in RANDOM.integers(0, different, ROWS)])


def seconds() -> pa.Array:
    return pa.array(np.linspace(1_300_000_000, 1_400_000_000, ROWS).astype(np.int64))


def written(layout: str) -> pa.Array:
    return pa.array([datetime.fromtimestamp(value, UTC).strftime(layout) for value in seconds().to_pylist()])


def of(*values: Any) -> pa.Array:
    return pa.array(RANDOM.choice(values, ROWS).tolist())


def stars() -> pa.Array:
    return pa.array(RANDOM.integers(1, 6, ROWS).astype(np.float64))


def config_of(text: str) -> Config:
    return resolve(parse(text, "starter.yaml")).config


def write(path: Path, columns: dict[str, Any]) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def start(folder: Path, columns: dict[str, Any]) -> str:
    """The starter for one interactions file with these columns."""
    return starter_config(write(folder / "events.parquet", columns))


DATASETS: dict[str, tuple[dict[str, Any], tuple[str | None, ...]]] = {
    # columns -> user, item, timestamp, unit, weight, event type
    "movielens": (
        {"userId": ids(50), "movieId": ids(60), "rating": stars(), "timestamp": seconds()},
        ("userId", "movieId", "timestamp", "s", "rating", None),
    ),
    "shop events": (
        {
            "timestamp": pc.multiply(seconds(), 1000),
            "visitorid": ids(50),
            "event": of("view", "addtocart"),
            "itemid": ids(60),
            "transactionid": stars(),
        },
        ("visitorid", "itemid", "timestamp", "ms", None, "event"),
    ),
    "fashion": (
        {"t_dat": written("%Y-%m-%d"), "customer_id": codes(50), "article_id": ids(60), "price": stars()},
        ("customer_id", "article_id", "t_dat", "iso", None, None),
    ),
    "songs": (
        {"msno": codes(50), "song_id": codes(60), "source_type": of("radio", "library"), "target": of(0, 1)},
        ("msno", "song_id", None, None, None, None),
    ),
    "reviews": (
        {
            "reviewerID": codes(50),
            "asin": codes(60),
            "reviewerName": codes(50),
            "overall": stars(),
            "unixReviewTime": seconds(),
            "reviewTime": written("%m %d, %Y"),
        },
        ("reviewerID", "asin", "unixReviewTime", "s", "overall", None),
    ),
    "invoices": (
        {
            "InvoiceNo": codes(100),
            "StockCode": codes(60),
            "Quantity": ids(20),
            "InvoiceDate": seconds().cast(pa.timestamp("s")),
            "CustomerID": stars(),
        },
        ("CustomerID", "StockCode", "InvoiceDate", None, "Quantity", None),
    ),
    "listening counts": (
        {"userID": ids(50), "artistID": ids(60), "weight": ids(900)},
        ("userID", "artistID", None, None, "weight", None),
    ),
    "clicks": (
        {"session_id": ids(50), "timestamp": written("%Y-%m-%dT%H:%M:%S.000Z"), "item_id": ids(60)},
        ("session_id", "item_id", "timestamp", "iso", None, None),
    ),
    "books": (
        {"User-ID": ids(50), "ISBN": codes(60), "Book-Rating": ids(11)},
        ("User-ID", "ISBN", None, None, "Book-Rating", None),
    ),
    "warehouse": (
        {
            "HASHED_USER_KEY": codes(50),
            "DIM_PRODUCT_SK": ids(60),
            "EVENT_TS": seconds().cast(pa.timestamp("us", "UTC")),
            "LOAD_TS": seconds().cast(pa.timestamp("us", "UTC")),
            "EVENT_NAME": of("view", "buy"),
            "CNT": ids(9),
        },
        ("HASHED_USER_KEY", "DIM_PRODUCT_SK", "EVENT_TS", None, "CNT", "EVENT_NAME"),
    ),
    "row numbers": (
        {
            "id": pa.array(range(ROWS)),
            "customer": ids(50),
            "product": ids(60),
            "created_at": pa.array([date.today()] * ROWS),
        },
        ("customer", "product", "created_at", None, None, None),
    ),
    "check-ins": (
        {"userId": ids(50), "venueId": codes(60), "venueCategory": of("Bar", "Gym"), "latitude": stars()},
        ("userId", "venueId", None, None, None, None),
    ),
    "nanoseconds": (
        {"account_id": ids(50), "listing_id": ids(60), "event_ts": pc.multiply(seconds(), 1_000_000_000)},
        ("account_id", "listing_id", "event_ts", "ns", None, None),
    ),
    "German": (
        {"Kundennummer": ids(50), "Artikelnummer": ids(60), "Menge": ids(5), "Datum": written("%Y-%m-%d")},
        ("Kundennummer", "Artikelnummer", "Datum", "iso", "Menge", None),
    ),
    "one letter": (
        {"u": ids(50), "i": ids(60), "r": stars(), "t": seconds()},
        ("u", "i", "t", "s", "r", None),
    ),
    "dictionary-coded": (
        {
            "user": codes(50).dictionary_encode(),
            "item": codes(60).dictionary_encode(),
            "action": of("a").dictionary_encode(),
        },
        ("user", "item", None, None, None, "action"),
    ),
}
