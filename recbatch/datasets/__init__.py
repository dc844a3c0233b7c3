"""Public data sets, fetched from their publishers into the tables that a night reads; nothing of them is shipped.

    fetch("movielens-100k", "data/movielens-100k") -> interactions.parquet, users.parquet, items.parquet

Every source of a data set gives the same tables; counts and a checksum of the content are verified after reading.
"""

from recbatch.datasets.fetching import Fetched, dataset_names, fetch

__all__ = ["Fetched", "dataset_names", "fetch"]
