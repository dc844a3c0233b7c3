"""What `verify` finds in a published output, and what the next night mends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from night_published import SmallNight, first_part, flip_a_byte, small_night
from world import DS

from recbatch.cli.main import main


@pytest.fixture
def night(tmp_path_factory: pytest.TempPathFactory) -> SmallNight:
    return small_night(tmp_path_factory.getbasetemp())


@pytest.fixture
def copy(night: SmallNight, tmp_path: Path) -> SmallNight:
    return night.copied(tmp_path / "copy" / "of out")


def change_the_pointer(output: Path, **fields: Any) -> None:
    path = output / "_published" / f"{DS}.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **fields}))


Damage = Callable[[Path, dict[str, Any]], object]


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a changed byte of a part": (lambda out, m: flip_a_byte(first_part(out, m)), "part-00000.parquet has changed"),
    "a changed byte of a folder": (
        lambda out, m: flip_a_byte(out / "user2user" / f"ds={DS}" / "part-00001.parquet"),
        f"user2user/ds={DS}/part-00001.parquet has changed",
    ),
    "a shorter part": (
        lambda out, m: first_part(out, m).write_bytes(first_part(out, m).read_bytes()[:-20]),
        "part-00000.parquet cannot be read",
    ),
    "a missing part": (lambda out, m: first_part(out, m).unlink(), "part-00000.parquet is missing"),
    "a missing file of a folder": (
        lambda out, m: (out / "user_embeddings" / f"ds={DS}" / "part-00001.parquet").unlink(),
        f"user_embeddings/ds={DS}/part-00001.parquet is missing",
    ),
    "no _SUCCESS": (
        lambda out, m: (out / "user2item" / f"ds={DS}" / "_SUCCESS").unlink(),
        f"user2item/ds={DS}/_SUCCESS is missing",
    ),
    "a stray file in a folder": (
        lambda out, m: shutil.copy(first_part(out, m), out / "item2item" / f"ds={DS}" / "part-00009.parquet"),
        "part-00009.parquet is stray",
    ),
    "a stray file among the parts": (
        lambda out, m: shutil.copy(first_part(out, m), first_part(out, m).with_name("part-00009.parquet")),
        "part-00009.parquet is stray",
    ),
    "a stray file beside the dates": (
        lambda out, m: shutil.copy(first_part(out, m), out / "item2item" / "old.parquet"),
        "item2item/old.parquet is stray",
    ),
    "a table that the night has not": (
        lambda out, m: shutil.copytree(out / "item2item", out / "old_table"),
        f"old_table/ds={DS} is stray",
    ),
    "a date that is not published": (
        lambda out, m: shutil.copytree(out / "item2item" / f"ds={DS}", out / "item2item" / "ds=2024-01-01"),
        "ds=2024-01-01 is stray: 2024-01-01 is not published",
    ),
    "a damaged pointer": (
        lambda out, m: (out / "_published" / f"{DS}.json").write_text("{"),
        "is not a pointer of this program",
    ),
    "a pointer to a run that is not there": (
        lambda out, m: change_the_pointer(out, run="gone", manifest=f"_runs/{DS}/gone/manifest.json"),
        "gone/manifest.json is missing",
    ),
    "a pointer to another run": (
        lambda out, m: change_the_pointer(out, run="another"),
        "shows another run than the pointer",
    ),
    "another manifest": (
        lambda out, m: (out / "_runs" / DS / m["run"] / "manifest.json").write_text(json.dumps(m)),
        "is not the manifest that was published",
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_verify_finds(damage: str, copy: SmallNight, capsys: pytest.CaptureFixture[str]) -> None:
    apply, message = DAMAGES[damage]
    apply(copy.output, copy.published.manifest)
    assert main(["verify", str(copy.output)]) == 1
    assert message in capsys.readouterr().err


def test_verify_passes_what_is_right(copy: SmallNight, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy, a copy that was moved; runs that were not finished, and what is no table, are nobody's business."""
    assert main(["verify", str(copy.output), "--ds", DS]) == 0
    assert f"1 published night verified ({DS} to {DS})" in capsys.readouterr().out
    moved = copy.output.rename(copy.output.parent / "elsewhere")
    unfinished = moved / "_runs" / DS / "0123456789abcdef" / "4_tables" / "user2item"
    unfinished.mkdir(parents=True)
    (unfinished / "part-00000.parquet").write_bytes(b"half a fi")
    (moved / "_runs" / "2024-02-02" / "fedcba9876543210").mkdir(parents=True)
    (moved / "notes").mkdir()
    (moved / "notes" / "read me.txt").write_text("of the one who runs it")
    assert main(["verify", str(moved)]) == 0


def test_verify_of_what_is_not_published(copy: SmallNight, tmp_path: Path) -> None:
    assert main(["verify", str(copy.output), "--ds", "2024-02-02"]) == 2
    assert main(["verify", str(tmp_path / "nothing here")]) == 2


def test_a_copied_output_has_nothing_to_do(copy: SmallNight) -> None:
    assert not copy.run().published


def test_folders_are_mended(copy: SmallNight) -> None:
    """As after a kill between pointer and folders: one missing, one of another run, one left of a table now off."""
    shutil.rmtree(copy.output / "user2item")
    (copy.output / "item2item" / f"ds={DS}" / "_SUCCESS").write_text("another run")
    shutil.copytree(copy.output / "item2user", copy.output / "item2user_query_embeddings")
    assert len(copy.problems) >= 3
    assert not copy.run().published
    assert copy.problems == []
    assert copy.published.projected("item2user_query_embeddings") == []


def test_a_damaged_manifest_does_not_block_the_next_night(copy: SmallNight) -> None:
    run, manifest = copy.pointer.run, copy.folder / "manifest.json"
    manifest.unlink()
    assert copy.run().published  # the same night
    assert (copy.problems, copy.pointer.run, copy.pointer.previous) == ([], run, ())
    manifest.write_text("{}")
    assert copy.run("tables.user2item.k=3").published  # another one
    assert (copy.problems, copy.pointer.previous) == ([], (run,))
    (copy.folder / "manifest.json").write_text("{}")
    assert copy.run("tables.user2item.k=3").published
    assert (copy.problems, copy.pointer.previous) == ([], (run,))
