"""What profiles hold, made by DuckDB: ``python lists.py 'EVENTS/*.parquet' OUTPUT``; it imports nothing else.

For every user the items in order of time and the different ones, for every item its events and different users, both
sorted by id and written to Parquet, as the night's profiles are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import duckdb

_USERS = """
copy (select user_id, count(*) as events, list(item_id order by timestamp) as history, list(distinct item_id) as seen
      from read_parquet('{events}') group by user_id order by user_id) to '{output}/users.parquet' (compression zstd)
"""
_ITEMS = """
copy (select item_id, count(*) as events, list(distinct user_id) as users
      from read_parquet('{events}') group by item_id order by item_id) to '{output}/items.parquet' (compression zstd)
"""


def main(words: Sequence[str]) -> None:
    """Write both tables."""
    events, output = words
    with duckdb.connect() as connection:
        for statement in (_USERS, _ITEMS):
            connection.execute(statement.format(events=events, output=output))


if __name__ == "__main__":
    main(sys.argv[1:])
