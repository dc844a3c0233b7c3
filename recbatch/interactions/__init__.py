"""From the input files to clean rows, and from clean rows to the profiles of users and items.

    resolve_inputs -> plan_slices -> read_slice -> interaction_chunks, entity_chunks -> group_users, group_items

Inputs are looked at once (footers and checksums), cut into slices, read and cleaned slice by slice; each slice is
packed into chunks by range of ids, and the chunks of a range are grouped into profiles. :func:`load_tables` reads
everything into memory for training. All of it works on whole columns: never one Python object per row.
"""

from __future__ import annotations

from recbatch.interactions.chunks import entity_chunks, interaction_chunks
from recbatch.interactions.clean import SliceData, read_slice
from recbatch.interactions.packing import Chunk
from recbatch.interactions.profiles import Profiles, group_items, group_users, profile_schema
from recbatch.interactions.quarantine import QUARANTINE_SCHEMA, check_counts
from recbatch.interactions.ranges import cut_points, sample_ids, sample_one_in
from recbatch.interactions.slices import Piece, Slice, check_unchanged, plan_slices
from recbatch.interactions.sources import InputFile, ResolvedInputs, Source, resolve_inputs
from recbatch.interactions.spec import VECTOR, ReadSpec, SourceName, clean_schema
from recbatch.interactions.times import end_of_day_us
from recbatch.interactions.training import CleanTables, load_tables
from recbatch.interactions.vectors import check_widths

__all__ = [
    "QUARANTINE_SCHEMA",
    "VECTOR",
    "Chunk",
    "CleanTables",
    "InputFile",
    "Piece",
    "Profiles",
    "ReadSpec",
    "ResolvedInputs",
    "Slice",
    "SliceData",
    "Source",
    "SourceName",
    "check_counts",
    "check_unchanged",
    "check_widths",
    "clean_schema",
    "cut_points",
    "end_of_day_us",
    "entity_chunks",
    "group_items",
    "group_users",
    "interaction_chunks",
    "load_tables",
    "plan_slices",
    "profile_schema",
    "read_slice",
    "resolve_inputs",
    "sample_ids",
    "sample_one_in",
]
