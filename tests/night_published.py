"""One small published night, made once per test session, and copies of it to damage."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from night_bundles import given_bundle
from world import DS, Published, World, pairs_world, random_vectors, run

from recbatch.cli.main import main
from recbatch.launch.nightly import Outcome
from recbatch.tables.pointer import Pointer, read_pointer
from recbatch.tables.verify import check_output

USERS = [f"user {number}" for number in range(12)]
ITEMS = [f"item {number}" for number in range(15)]
PAIRS = [(user, ITEMS[(3 * number + step) % 15]) for number, user in enumerate(USERS) for step in range(3)]
BIAS = 3


def small_world() -> World:
    return pairs_world(PAIRS, users=USERS, items=ITEMS)


@dataclass(frozen=True)
class SmallNight:
    """A config, a bundle, and the output in which their night is published."""

    config: str
    bundle: Path
    output: Path

    def run(self, *sets: str) -> Outcome:
        """The night again, with keys of the config set."""
        return run(self.config, self.output, model=self.bundle, sets=sets)

    def command(self, *words: str) -> int:
        """The same by the command line; its exit code."""
        return main(
            ["recommend", self.config, "--output", str(self.output), "--ds", DS, "--model", str(self.bundle), *words]
        )

    @property
    def folder(self) -> Path:
        """The run directory of what is published."""
        return self.output / "_runs" / DS / self.pointer.run

    @property
    def problems(self) -> list[str]:
        """What verify finds."""
        return check_output(str(self.output))[1]

    @property
    def published(self) -> Published:
        return Published(self.output)

    @property
    def pointer(self) -> Pointer:
        pointer = read_pointer(str(self.output), DS)
        assert pointer is not None
        return pointer

    def copied(self, to: Path) -> SmallNight:
        """With a copy of the output, in which no file is a link to another any more."""
        return replace(self, output=Path(shutil.copytree(self.output, to)))


@functools.cache
def small_night(parent: Path) -> SmallNight:
    """Twelve users in two ranges, fifteen items in three; made once below ``parent``. No test may change it."""
    folder = parent / "small night"
    bundle = given_bundle(folder / "bundle", random_vectors(USERS, seed=1), random_vectors(ITEMS, seed=2), bias=BIAS)
    world = small_world()
    night = SmallNight(world.config(world.write(folder), {"run": {"range_ids": 6}}), bundle, folder / "out")
    night.run()
    return night


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and modification time of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def first_part(output: Path, manifest: dict[str, Any]) -> Path:
    return Path(output / manifest["tables"]["item2item"]["files"][0]["path"])


def flip_a_byte(path: Path) -> None:
    """Near the end of a column's values (the fourth of a table's, its scores)."""
    metadata = pq.read_metadata(path)
    column = metadata.row_group(0).column(min(metadata.num_columns - 1, 3))
    data = bytearray(path.read_bytes())
    data[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 10] ^= 1
    path.write_bytes(data)
