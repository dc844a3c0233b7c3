"""Which positives are held out to measure a model. Plain arrays in, masks and places out; nothing here knows an id.

The same input and seed give the same split, in every process.
"""

from recbatch.splits.by_hash import heldout_by_hash, mixed
from recbatch.splits.events import last_of_user, newest_events, random_entities, random_events
from recbatch.splits.heldout import heldout_by_time, heldout_per_user
from recbatch.splits.timelines import Examples, Pairs, consecutive_pairs, distinct_instants, sequential_examples

__all__ = [
    "Examples",
    "Pairs",
    "consecutive_pairs",
    "distinct_instants",
    "heldout_by_hash",
    "heldout_by_time",
    "heldout_per_user",
    "last_of_user",
    "mixed",
    "newest_events",
    "random_entities",
    "random_events",
    "sequential_examples",
]
