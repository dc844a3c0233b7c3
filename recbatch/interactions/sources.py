"""The input files of a run, looked at once at its start: footers and checksums, no rows."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import storage
from recbatch.config.columns import FeatureColumns
from recbatch.config.models import Config
from recbatch.errors import InputError
from recbatch.interactions.checks import Footer, check_footers
from recbatch.interactions.finding import Partitions, find_files, partitions_of, require_readable
from recbatch.interactions.spec import ReadSpec, SourceName

_THREADS = 8  # footers and checksums wait for disk or network, not for the processor


@dataclass(frozen=True)
class InputFile:
    """One Parquet file.

    Attributes:
        uri: absolute.
        checksum: of its content, see :func:`recbatch.storage.checksum`.
        row_groups: number of rows of each row group.
        partitions: values that it has by the folders it lies in, less those that are columns of the file itself.
    """

    uri: str
    checksum: str
    row_groups: tuple[int, ...]
    partitions: Partitions

    @property
    def identity(self) -> str:
        """Checksum and partitions: two files that agree in it hold the same rows."""
        return json.dumps([self.checksum, *self.partitions]) if self.partitions else self.checksum


@dataclass(frozen=True)
class Source:
    """The files of one input, in the order in which their rows count."""

    name: SourceName
    files: tuple[InputFile, ...]

    @property
    def rows(self) -> int:
        """Number of rows in all files."""
        return sum(sum(file.row_groups) for file in self.files)


@dataclass(frozen=True)
class ResolvedInputs:
    """The inputs of a run. Without ``users`` or ``items`` the ids seen in the interactions are the table."""

    interactions: Source
    users: Source | None = None
    items: Source | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """The inputs that are there."""
        return tuple(source for source in (self.interactions, self.users, self.items) if source is not None)

    @property
    def checksums(self) -> dict[str, list[str]]:
        """What the inputs hold, wherever the files lie: the identity of each file, by input, in order."""
        return {source.name: [file.identity for file in source.files] for source in self.sources}


def resolve_inputs(config: Config, columns: FeatureColumns) -> ResolvedInputs:
    """Find the files, read their footers, check that the needed columns are there and usable, take checksums.

    Raises:
        InputError: a path leads nowhere, a file cannot be read as Parquet, a column is missing or has a type that
            cannot be used; the message names the key, the file and the column.
    """
    spec = ReadSpec.of(config, columns)
    inputs = config.inputs
    return ResolvedInputs(
        interactions=_resolve("interactions", inputs.interactions.path, spec),
        users=None if inputs.users is None else _resolve("users", inputs.users.path, spec),
        items=None if inputs.items is None else _resolve("items", inputs.items.path, spec),
    )


def read_footer(uri: str, key: str) -> Footer:
    """Schema and row groups of a Parquet file.

    Args:
        uri: the file.
        key: the key of the configuration that led to it, for messages.

    Raises:
        InputError: it is not Parquet, or cut short, or there is no permission.
    """
    try:
        with storage.open_input(uri) as stream, pq.ParquetFile(stream) as file:
            return Footer(uri, file.schema_arrow, file.metadata, partitions_of(uri))
    except (pa.ArrowException, OSError) as error:
        require_readable(uri, key)
        raise InputError(
            f"{key}: {uri} cannot be read as Parquet ({error}); it is damaged, cut short or another kind of file. "
            f"Write it again, or name only the Parquet files, with a glob such as folder/*.parquet"
        ) from error


def _resolve(name: SourceName, path: str | list[str], spec: ReadSpec) -> Source:
    key = f"inputs.{name}.path"
    uris = [file.uri for file in find_files(path, key)]
    with ThreadPoolExecutor(_THREADS) as pool:
        footers = list(pool.map(lambda uri: read_footer(uri, key), uris))
        check_footers(name, footers, spec)
        checksums = list(pool.map(storage.checksum, uris))
    return Source(name, tuple(_input_file(*pair) for pair in zip(footers, checksums, strict=True)))


def _input_file(footer: Footer, checksum: str) -> InputFile:
    rows = tuple(footer.metadata.row_group(group).num_rows for group in range(footer.metadata.num_row_groups))
    own = set(footer.schema.names)
    return InputFile(footer.uri, checksum, rows, tuple(pair for pair in footer.partitions if pair[0] not in own))
