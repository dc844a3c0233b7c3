"""A night: which run of which date, and where each of its parts lies. It travels to every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recbatch import storage
from recbatch.config.columns import FeatureColumns
from recbatch.config.models import Config, Entity
from recbatch.interactions import ReadSpec, Slice, SourceName
from recbatch.night.jobs import BundleRef, EmbeddingSet, TableJob
from recbatch.night.last import LastIndexes, LastNight
from recbatch.night.shards import Shard


@dataclass(frozen=True)
class Night:
    """One run of one date.

    Attributes:
        output: root of everything that is written, absolute.
        ds: the date, ``YYYY-MM-DD``; events of that day are the last that count.
        as_of_us: the end of that day in the config's time zone, microseconds since the epoch.
        run: name of the run, a fingerprint of what it is made from (and a counter when it was forced).
        config: the configuration.
        columns: the columns that the towers need.
        input_rows: rows of each input that is there.
        input_slices: in how many slices each of them is read.
        jobs: the tables to make.
        sets: the vectors to compute.
        bundle: the default model bundle; one that is trained for the night goes through the model gate first.
        gated: whether it does: then :attr:`gate_uri` says which bundle the tables are made with.
        last: the last night's bundle, where the night has use for one.
        start: the last night's indexes, where the night starts from them.
    """

    output: str
    ds: str
    as_of_us: int
    run: str
    config: Config
    columns: FeatureColumns
    input_rows: Mapping[SourceName, int]
    input_slices: Mapping[SourceName, int]
    jobs: tuple[TableJob, ...]
    sets: tuple[EmbeddingSet, ...]
    bundle: BundleRef
    gated: bool = False
    last: LastNight | None = None
    start: LastIndexes | None = None

    @property
    def uri(self) -> str:
        """The run directory."""
        return storage.join(self.output, "_runs", self.ds, self.run)

    @property
    def read_spec(self) -> ReadSpec:
        """How input rows are read and cleaned."""
        return ReadSpec.of(self.config, self.columns, self.as_of_us)

    def path(self, *names: str) -> str:
        """A file or folder in the run directory."""
        return storage.join(self.uri, *names)

    @property
    def ranges_uri(self) -> str:
        """The cut points, made by the first work item that sees all ids."""
        return self.path("plan.json")

    @property
    def shards_uri(self) -> str:
        """The shards of every table's candidates, made when all vectors are there."""
        return self.path("shards.json")

    @property
    def gate_uri(self) -> str:
        """The verdict of the model gate, made by the first work item that has the bundle."""
        return self.path("gate.json")

    @property
    def audit_uri(self) -> str:
        """What the audit found."""
        return self.path("audit.json")

    @property
    def manifest_uri(self) -> str:
        """The run's manifest, its last file."""
        return self.path("manifest.json")

    def slice_uri(self, source: SourceName, number: int) -> str:
        """The cleaned rows of one slice."""
        return self.path("0_slices", f"{source}-{number:05d}.parquet")

    def quarantine_uri(self, piece: Slice) -> str:
        """The rows of one slice that were put aside; absent where there are none."""
        return self.path("0_slices", "quarantine", f"{piece.source}-{piece.number:05d}.parquet")

    def profile_uri(self, entity: Entity, number: int) -> str:
        """The profiles of one range of users or items."""
        return self.path("1_profiles", f"{entity}s", part_name(number))

    def embedding_uri(self, vectors: EmbeddingSet, number: int) -> str:
        """The vectors of one range."""
        return self.path("2_embeddings", vectors.name, part_name(number))

    def index_uri(self, job: TableJob, shard: Shard) -> str:
        """The folder of the index of one shard of a table's candidates."""
        return self.path("3_indexes", job.name, f"shard-{shard.number:05d}")

    def table_uri(self, job: TableJob, number: int, *, exactly: bool = False) -> str:
        """The rows of one range of a table's queries; ``exactly``: of those that are searched again."""
        return self.path("4_tables", _table_folder(job, exactly), part_name(number))

    def shard_part_uri(self, job: TableJob, shard: Shard, number: int, *, exactly: bool = False) -> str:
        """What one range of queries found in one shard: where there is one alone, the table's own part."""
        if shard.alone:
            return self.table_uri(job, number, exactly=exactly)
        folder = self.shard_parts_uri(job, shard, exactly=exactly)
        return storage.join(folder, part_name(number))

    def shard_parts_uri(self, job: TableJob, shard: Shard, *, exactly: bool = False) -> str:
        """The folder of what the queries found in one of several shards."""
        return self.path("4_shards", _table_folder(job, exactly), f"shard-{shard.number:05d}")


def _table_folder(job: TableJob, exactly: bool) -> str:
    return f"{job.name}-exact" if exactly else job.name


def part_name(number: int) -> str:
    """File name of the part of one range."""
    return f"part-{number:05d}.parquet"
