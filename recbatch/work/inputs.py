"""From input files to profiles: clean the slices, cut the ids into ranges, bring each range's rows together."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import storage
from recbatch.config.models import Entity
from recbatch.errors import InputError
from recbatch.interactions import (
    QUARANTINE_SCHEMA,
    VECTOR,
    Chunk,
    Slice,
    SourceName,
    check_counts,
    check_widths,
    clean_schema,
    cut_points,
    entity_chunks,
    group_items,
    group_users,
    interaction_chunks,
    read_slice,
    sample_ids,
    sample_one_in,
)
from recbatch.night import Night, Ranges
from recbatch.run import Layout, Part, existing_part, found_part, make_part, read_part
from recbatch.work.items import Cuts, RangePart, SlicePart, SliceSample

log = logging.getLogger(__name__)

ENTITIES: tuple[Entity, Entity] = ("user", "item")

_VECTORS = 16_384
"""Rows of a row group of given vectors."""

Packed = tuple[str, bytes]
"""An input's name, and rows of one of its slices, packed."""


def clean_slice(night: Night, piece: Slice) -> SlicePart:
    """The clean rows of a slice; the rows put aside are written first, so that none is lost to a kill in between."""
    spec = night.read_spec
    schema = clean_schema(piece.source, spec)
    coded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    plain = pa.schema([field.with_type(pa.string()) if field.name in coded else field for field in schema])

    def make(counts: dict[str, int]) -> Iterator[pa.Table]:
        found = read_slice(piece, spec)
        if found.quarantined.num_rows:
            _put_aside(night, piece, lambda: found.quarantined)
        counts.update(found.counts)
        yield from _sorted_rows(found.table) if spec.has_vectors(piece.source) else [found.table]

    layout = Layout(plain, encoded=coded)
    if spec.has_vectors(piece.source):  # each range looks up its own rows
        layout = Layout(plain, sorted_by=("id",), statistics=("id",), dictionaries=(), uncompressed=(VECTOR,))
    part = make_part(
        night.slice_uri(piece.source, piece.number), clean_item(piece.source, piece.number), night.run, layout, make
    )
    if not part.counts["quarantined"]:
        return SlicePart(piece, part, None)
    return SlicePart(piece, part, _put_aside(night, piece, lambda: read_slice(piece, spec).quarantined))


def clean_item(source: SourceName, number: int) -> str:
    """Name of the work item that cleans one slice."""
    return f"clean {source} {number:05d}"


def _sorted_rows(table: pa.Table) -> Iterator[pa.Table]:
    """Rows by id, and those of one id as they came; a row group at a time."""
    order = pc.sort_indices(table["id"])  # stable
    sorted_already = bool((np.diff(order.to_numpy().astype(np.int64)) == 1).all())
    for first in range(0, table.num_rows, _VECTORS):
        yield table.slice(first, _VECTORS) if sorted_already else table.take(order[first : first + _VECTORS])


def _put_aside(night: Night, piece: Slice, rows: Callable[[], pa.Table]) -> Part:
    item = f"quarantine {piece.source} {piece.number:05d}"
    return make_part(night.quarantine_uri(piece), item, night.run, Layout(QUARANTINE_SCHEMA), lambda _: [rows()])


def sample_slice(night: Night, cleaned: SlicePart) -> SliceSample:
    """What the cut points need to know of a slice; nothing where they are stored already."""
    samples: dict[str, bytes] = {}
    if not storage.exists(night.ranges_uri):
        one_in = sample_one_in(sum(night.input_rows.values()))
        interactions = cleaned.piece.source == "interactions"
        for entity in ENTITIES:
            column = _id_column(cleaned.piece.source, entity)
            if column is not None:
                ids = read_part(cleaned.part.uri, [column], coded=[column] if interactions else []).column(column)
                samples[entity] = _to_bytes(sample_ids(ids, one_in, interactions=interactions))
    return SliceSample(cleaned.piece.source, dict(cleaned.part.counts), samples)


def _id_column(source: str, entity: Entity) -> str | None:
    """Where an input names the ids of an entity."""
    if source == "interactions":
        return f"{entity}_id"
    return "id" if source == f"{entity}s" else None


def cut_ranges(night: Night, _: None, samples: Sequence[SliceSample]) -> Cuts:
    """The cut points, from all slices; the first of the night's decisions that needs the data.

    Raises:
        InputError: most timestamps cannot be meant as declared, or given vectors are of several widths.
        RecbatchError: more rows had to be put aside than the config allows.
    """
    widths = {}
    for source in night.input_rows:
        counts = Counter[str]()
        for sample in samples:
            if sample.source == source:
                counts.update(sample.counts)
        quarantine = night.path("0_slices", "quarantine")
        check_counts(source, counts, night.read_spec, where=quarantine)
        for sentence in remarks(source, counts, f", in {quarantine}"):
            log.warning(sentence)
        widths[source] = check_widths(source, counts)
    if widths.get("users") != widths.get("items"):
        raise InputError(
            f"inputs.users.embedding, inputs.items.embedding: users have vectors of width {widths.get('users')}, "
            f"items of {widths.get('items')}; both must come from one model"
        )
    if storage.exists(night.ranges_uri):
        ranges = Ranges.load(night.ranges_uri)
    else:
        run = night.config.run
        users, items = (
            cut_points(
                [_from_bytes(sample.samples[entity]) for sample in samples if entity in sample.samples],
                run.range_ids,
                run.range_interactions,
            )
            for entity in ENTITIES
        )
        ranges = Ranges(users, items).save(night.ranges_uri)
    missing: dict[str, frozenset[int]] = {
        entity: frozenset(
            number
            for number in range(ranges.count(entity))
            if existing_part(night.profile_uri(entity, number), _profile_item(entity, number), night.run) is None
        )
        for entity in ENTITIES
    }
    return Cuts(ranges, missing)


def remarks(source: str, counts: Mapping[str, int], where: str = "") -> Iterator[str]:
    """What the owner of an input should know although the night goes on; ``where`` are the rows put aside."""
    if counts.get("float_ids"):
        yield (
            f"inputs.{source}: {counts['float_ids']} ids are whole numbers stored as floats (a null makes pandas do "
            f"that) and were read as integers; store them as integers or text"
        )
    for entity in ENTITIES:
        strangers = counts.get(f"unknown_{entity}s")
        if strangers:
            yield (
                f"inputs.{entity}s: {counts[f'unknown_{entity}_events']} interactions name {strangers} {entity}s that "
                f"are not in the table (inputs.unknown_{entity}s says what becomes of them)"
            )
    if counts.get("quarantined"):
        aside = f"{counts['quarantined']} of {counts['rows']} rows were put aside"
        yield f"inputs.{source}: {aside}, with the reasons{where}"


def split_slice(night: Night, cleaned: SlicePart, cuts: Cuts) -> Iterator[tuple[Entity, int, Packed]]:
    """A slice's rows by range, packed for the shuffle; nothing for ranges whose profile is there."""
    source, number = cleaned.piece.source, cleaned.piece.number
    wanted = [entity for entity in ENTITIES if cuts.missing[entity] and _id_column(source, entity) is not None]
    if not wanted:
        return
    coded = ["user_id", "item_id"] if source == "interactions" else []
    columns = [name for name in clean_schema(source, night.read_spec).names if name != VECTOR]
    table = read_part(cleaned.part.uri, columns, coded=coded)
    for chunk in _chunks(night, source, number, table, cuts.ranges):
        if chunk.range in cuts.missing[chunk.entity]:
            yield chunk.entity, chunk.range, (source, chunk.data)


def _chunks(night: Night, source: str, number: int, table: pa.Table, ranges: Ranges) -> Iterator[Chunk]:
    if source == "interactions":
        return interaction_chunks(table, number, ranges.users, ranges.items, night.read_spec)
    entity: Entity = "user" if source == "users" else "item"
    return entity_chunks(table, entity, number, ranges.cuts(entity))


@dataclass(frozen=True)
class Group:
    """Brings together the rows of one range of users or items; called by the transform of that entity."""

    entity: Entity

    def __call__(self, night: Night, element: tuple[int, Iterable[Packed | None]], cuts: Cuts) -> RangePart:
        """The profile part of a range.

        Raises:
            FileNotFoundError: it was there when the rows were split, so none were sent here, and it is not any more.
        """
        number, packed = element
        if number not in cuts.missing[self.entity]:
            return _part_there(night, self.entity, number)
        group = group_users if self.entity == "user" else group_items

        def make(counts: dict[str, int]) -> Iterator[pa.Table]:
            chunks = [chunk for chunk in packed if chunk is not None]
            events = [data for source, data in chunks if source == "interactions"]
            features = [data for source, data in chunks if source != "interactions"]
            profiles = group(events, features, night.read_spec)
            counts.update(profiles.counts)
            yield profiles.table

        uri = night.profile_uri(self.entity, number)
        item = _profile_item(self.entity, number)
        return RangePart(self.entity, number, make_part(uri, item, night.run, _profile_layout, make))


def _part_there(night: Night, entity: Entity, number: int) -> RangePart:
    uri = night.profile_uri(entity, number)
    part = found_part(uri, _profile_item(entity, number), night.run)
    if part is None:
        raise FileNotFoundError(f"{uri} was removed during the run; run the night again")
    return RangePart(entity, number, part)


def _profile_layout(schema: pa.Schema) -> Layout:
    return Layout(schema, sorted_by=("id",), statistics=("id",))


def _profile_item(entity: Entity, number: int) -> str:
    return f"group {entity}s {number:05d}"


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_bytes(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
