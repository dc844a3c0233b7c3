"""What fails says so in one sentence, publishes nothing, leaves nothing half-made, and can be done again."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from robust_nights import (
    SETTINGS,
    TABLES,
    Inputs,
    assert_whole,
    command,
    contents,
    end,
    error_of,
    leftovers,
    make_inputs,
    marks,
    run_parts,
    start,
)
from world import DS, Published

from recbatch import storage
from recbatch.errors import RecbatchError
from recbatch.tables.pointer import publish_pointer, read_pointer, require_pointer
from recbatch.tables.verify import check_output
from recbatch.work import embedding
from recbatch.work import inputs as input_items

ROOM = r"free space \(TMPDIR is .*\) and run the same command again: what is done is kept"
ONE_TABLE = SETTINGS | {"tables": {name: {"k": 10, "enabled": name == "user2item"} for name in TABLES[:4]}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(tmp_path_factory.mktemp("faults"), settings=ONE_TABLE)


@pytest.fixture(scope="module")
def undisturbed(inputs: Inputs) -> Path:
    assert inputs.recommend(inputs.folder / "undisturbed").published
    return inputs.folder / "undisturbed"


# --- the file system ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "call", "number", "says"),
    [
        ("link", 40, errno.EIO, r"part-\d+.parquet: Input/output error"),
        ("link", 1, errno.EPERM, "parquet: this file system has no hard links; choose another"),
        ("fsync", 5, errno.ENOSPC, rf"interactions-\d+.parquet: No space left on device; {ROOM}"),
        ("replace", 1, errno.EROFS, f"{DS}.json: Read-only file system"),
    ],
)
def test_the_file_system_fails(
    inputs: Inputs,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    call: int,
    number: int,
    says: str,
) -> None:
    """From the nth call on, so that not even the failure can be written down."""
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        fail_from(patch, os, function, call, number)
        code, text = command(inputs.words(output))
    assert code == 1
    assert re.search(f"^(clean|search|embed|group_users|publish): .*{says}$", error_of(text))
    assert read_pointer(str(output), DS) is None
    assert contents(output).items() <= contents(undisturbed).items()
    if number == errno.EIO:
        before = marks(output)
        assert inputs.recommend(output).published
        assert {name: mark for name, mark in marks(output).items() if name in before} == before
        assert_whole(output, undisturbed)


def test_there_is_room_for_small_files_only(inputs: Inputs, tmp_path: Path) -> None:
    """A part that cannot be written to its end is no part; the operating system's own limit, not a patched function."""
    output, sets = tmp_path / "out", ["run.range_ids=1000", "tables.user2item.k=40"]
    words = inputs.words(output, *(f"--set={one}" for one in sets))
    process = start(words, tmp_path / "log", resource.setrlimit, resource.RLIMIT_FSIZE, (8192, 8192))
    assert end(process) == 1
    assert re.search(
        r"search: .*4_tables/user2item/part-00000.parquet: File too large; allow larger files \(ulimit -f\).*is kept$",
        error_of((tmp_path / "log").read_text()),
    )
    assert leftovers(output) == []
    assert not any("user2item" in name for name in run_parts(output))
    assert inputs.recommend(output, *sets).published
    assert max(path.stat().st_size for path in run_parts(output).values()) > 8192
    assert check_output(str(output)) == ([DS], [])


@pytest.mark.parametrize("output", ["file", "file/below", "/proc/nowhere/out"])
def test_an_output_that_cannot_be_written(inputs: Inputs, tmp_path: Path, output: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    code, text = command(inputs.words(tmp_path / output))
    assert code == 2
    assert str(tmp_path / output) in error_of(text)
    assert re.search("choose another folder|name a folder", text)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_an_output_without_permission(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    code, text = command(inputs.words(tmp_path / "out"))
    assert code == 2
    assert "there is no permission" in error_of(text)


def test_a_part_that_is_gone_is_not_made_from_nothing(
    inputs: Inputs, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the rows were split the profile was there, so none of its rows are on their way."""
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    (output / "_published" / f"{DS}.json").unlink()
    (profile, *_) = sorted((output / "_runs" / DS).glob("*/1_profiles/users/*.parquet"))

    def gone(*arguments: Any) -> Any:
        profile.unlink(missing_ok=True)
        return split(*arguments)

    split = input_items.split_slice
    with monkeypatch.context() as patch:
        patch.setattr(input_items, "split_slice", gone)
        code, text = command(inputs.words(output))
    assert (code, error_of(text)) == (1, f"group_users: {profile} was removed during the run; run the night again")
    assert inputs.recommend(output).published
    assert pq.read_table(profile).num_rows > 0
    assert check_output(str(output)) == ([DS], [])


# --- the inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["replaced", "removed"])
@pytest.mark.parametrize(("owner", "step"), [(input_items, "read_slice"), (embedding, "embed_range")])
def test_an_input_changed_during_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, change: str
) -> None:
    """Before it is read, and after all of it has been: the run's name would be a lie."""
    inputs = make_inputs(tmp_path, settings=ONE_TABLE)
    victim = tmp_path / "events" / "01.parquet"
    original = getattr(owner, step)
    kept = victim.read_bytes()

    def meddle(*arguments: Any) -> Any:
        if change == "removed":
            victim.unlink(missing_ok=True)
        else:
            rows = pq.read_table(pa.BufferReader(kept))
            changed = pc.replace_substring(rows["what"], "i0000", "i0001")
            pq.write_table(rows.set_column(1, "what", changed), victim)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, meddle)
        code, text = command(inputs.words(tmp_path / "out"))
    assert code == 1
    assert re.search(f": {re.escape(str(victim))} was {change} during the run", error_of(text))
    assert read_pointer(str(tmp_path / "out"), DS) is None


# --- others who do the same ------------------------------------------------------------------------------------------


def test_two_different_nights_of_one_date_at_once(inputs: Inputs, tmp_path: Path) -> None:
    """One of them is published last, and the tables are all of that one."""
    output = tmp_path / "out"
    settings = ["tables.user2item.k=3", "tables.item2item.enabled=true"]
    both = [
        start([*inputs.words(output), "--set", setting], tmp_path / f"log{number}")
        for number, setting in enumerate(settings)
    ]
    assert [end(process) for process in both] == [0, 0]
    assert check_output(str(output)) == ([DS], [])
    pointer = require_pointer(str(output), DS)
    assert len([pointer.run, *pointer.previous]) == 2
    shown = {(output / table / f"ds={DS}" / "_SUCCESS").read_text() for table in Published(output).manifest["tables"]}
    assert shown == {pointer.run}
    assert {table for table in TABLES if Published(output).projected(table)} == set(
        Published(output).manifest["tables"]
    )


def test_a_night_that_is_overtaken_shows_the_winner(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process publishes between our pointer and our folders."""
    output = tmp_path / "out"
    inputs.recommend(output, "tables.user2item.k=3")
    winner = require_pointer(str(output), DS)
    original = storage.replace_folder
    overtaken: list[str] = []

    def overtake(*arguments: Any) -> None:
        if not overtaken:
            overtaken.append(require_pointer(str(output), DS).run)
            content = (output / winner.manifest).read_bytes()
            publish_pointer(str(output), DS, winner.run, winner.manifest, content)
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_folder", overtake)
        inputs.recommend(output)
    assert overtaken != [winner.run]
    assert require_pointer(str(output), DS).run == winner.run
    assert require_pointer(str(output), DS).previous == tuple(overtaken)
    assert check_output(str(output)) == ([DS], [])


@pytest.mark.parametrize(("lost", "code"), [(2, 0), (1000, 1)])
def test_the_pointer_is_changed_by_others(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int, code: int
) -> None:
    """A swap that was lost is tried again on what is there now; not for ever."""
    output, attempts = tmp_path / "out", []
    original = storage.compare_and_swap

    def lose(*arguments: Any) -> bool:
        attempts.append(arguments)
        return len(attempts) > lost and original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "compare_and_swap", lose)
        found, text = command(inputs.words(output))
    assert found == code
    if code:
        assert "keeps being changed by others; let one run" in error_of(text)
        assert 1 < len(attempts) < 20
        assert inputs.recommend(output).published
    assert check_output(str(output)) == ([DS], [])


def test_a_failure_of_an_earlier_attempt_is_forgotten(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    for sentence in ("the first reason", "the second reason"):
        with monkeypatch.context() as patch:
            patch.setattr(embedding, "embed_range", raises(RecbatchError(sentence)))
            code, text = command(inputs.words(output))
        assert (code, error_of(text)) == (1, f"embed: {sentence}")


def test_a_bug_shows_its_traceback_below_its_sentence(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "embed_range", raises(KeyError("surprise")))
    code, text = command(inputs.words(tmp_path / "out"))
    assert code == 1
    sentence, _, traceback = text.partition("Traceback")
    assert "error: embed: KeyError: 'surprise'" in sentence
    assert "test_faults.py" in traceback


def test_an_interrupt_in_a_work_item_is_one(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: the runner hides it in an exception of its own."""
    monkeypatch.setattr(embedding, "embed_range", raises(KeyboardInterrupt()))
    code, text = command(inputs.words(tmp_path / "out"))
    assert code == 128 + signal.SIGINT
    assert "Traceback" not in text
    assert "the same command goes on from there" in text


def raises(error: BaseException) -> Callable[..., Any]:
    """A function that fails so."""

    def failing(*_: Any) -> Any:
        raise error

    return failing


def fail_from(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, number: int) -> None:
    """Let the nth call of a function, and all after it, fail as the operating system does."""
    original, calls = getattr(owner, name), 0

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise OSError(number, os.strerror(number), *[word for word in arguments[:1] if isinstance(word, str)])
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, failing)
