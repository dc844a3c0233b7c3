"""Where nothing can be written or read: one sentence with the place and what to do, whoever met it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from robust_nights import command, error_of
from world import DS, pairs_world

from recbatch import storage
from recbatch.errors import InputError, RecbatchError
from recbatch.interactions.finding import find_files
from recbatch.interactions.sources import read_footer
from recbatch.run import explain, writing_in
from recbatch.storage import digests
from recbatch.tuning import search as search_module
from recbatch.tuning.child import Failed


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A folder with a file, both forbidden to the user who runs the test, root or not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir()
        pq.write_table(pa.table({"u": [1]}), folder / "events.parquet")
        pq.write_table(pa.table({"u": [1]}), folder / "closed" / "events.parquet")
        (folder / "events.parquet").chmod(0)
        (folder / "closed").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            (folder / "closed").chmod(0o700)


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/some/where")
    with pytest.raises(OSError, match="No space") as failure, writing_in(tmp_path):
        os.write(os.open("/dev/full", os.O_WRONLY), b"x")
    assert explain(failure.value, kept=True) == (
        f"{tmp_path}: No space left on device; free space (TMPDIR is /some/where) and run the same command again: "
        f"what is done is kept"
    )
    with pytest.raises(OSError, match="No space") as failure, writing_in(tmp_path):
        pq.write_table(pa.table({"u": range(10)}), pa.OSFile("/dev/full", "wb"))
    assert explain(failure.value).startswith(f"{tmp_path}: No space left on device; free space")


def test_other_errors_get_no_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output") as failure, writing_in(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert explain(failure.value) == "Input/output error"


def test_no_temporary_folder_is_a_sentence() -> None:
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    assert explain(error).endswith("['/tmp']; free space in one of them, or set TMPDIR to a folder with room")


def test_tensorflow_meets_a_full_disk() -> None:
    import tensorflow as tf

    from recbatch.model.writing import writing_errors

    with pytest.raises(OSError, match="No space left on device") as failure, writing_errors():
        tf.io.write_file("/dev/full", "x" * 100_000)
    assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, "/dev/full")
    with pytest.raises(tf.errors.InvalidArgumentError), writing_errors():
        tf.reshape(tf.zeros(3), [2])


def test_a_full_disk_ends_a_search_and_is_not_the_trials_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_tuning_search import IDENTITY, by_rate, run, searching

    from recbatch.tuning.study import open_study

    def full(*_: object) -> Failed:
        return Failed("/x: No space left on device; free space", is_full=True)

    monkeypatch.setattr(search_module, "run_fit", full)
    with (
        open_study(str(tmp_path / "study"), IDENTITY) as study,
        pytest.raises(RecbatchError, match="No space left on device"),
    ):
        searching(study, 2).run()
    rows = run(tmp_path / "study", monkeypatch, by_rate, trials=2)
    assert rows[0]["state"] == "complete"


def test_checksums_do_without_their_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    (tmp_path / "data").write_bytes(b"rows")
    os.utime(tmp_path / "data", (1, 1))
    monkeypatch.setattr(digests, "_cache_folder", lambda: tmp_path / "cache" / "checksums")
    monkeypatch.setattr(digests, "_SETTLED_SECONDS", -1.0)
    assert digests.checksum(str(tmp_path / "data")).startswith("sha256:")


def test_what_is_forbidden_is_not_called_damaged_or_missing(forbidden: Path) -> None:
    with pytest.raises(InputError, match=r"key: permission denied: .*/events.parquet belongs to \w+ \(mode 000\)"):
        read_footer(str(forbidden / "events.parquet"), "key")
    for path in (forbidden / "closed", forbidden / "closed" / "*.parquet", forbidden / "closed" / "events.parquet"):
        with pytest.raises(InputError, match=r"key: permission denied: .*/closed belongs to .* \(mode 000\)"):
            find_files(str(path), "key")
    assert storage.denied(str(forbidden / "nothing")) is None
    with pytest.raises(InputError, match="nothing is at"):
        find_files(str(forbidden / "nothing"), "key")


def test_a_search_looks_at_its_output_and_its_data_before_the_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "run_fit", lambda *_: pytest.fail("a trial was begun"))
    world = pairs_world([("u", "i")])
    config = world.config(world.write(tmp_path), {"model": {"dim": 4}})
    words = ["tune", config, "--study", str(tmp_path / "study"), "--output"]
    code, text = command([*words, "/proc/nowhere/best.yaml"])
    assert code == 2
    assert "--output: /proc/nowhere cannot be written" in error_of(text)
    assert not (tmp_path / "study").exists()
    code, text = command([*words, str(tmp_path / "best.yaml")])
    assert code == 2
    assert "a search needs held-out events to go by, and there are none" in error_of(text)


@pytest.mark.parametrize(
    ("name", "says"), [("evaluate", "nothing is kept, and the same command begins anew"), ("verify", "interrupted")]
)
def test_an_interrupt_promises_what_is_true(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recbatch.launch.evaluating.evaluate", interrupted)
    monkeypatch.setattr("recbatch.tables.verify.verify_output", interrupted)
    code, text = command([name, str(tmp_path)])
    assert code == 130
    assert text.strip().endswith(says)
    assert "what is done is kept" not in text


def test_a_night_without_times_promises_no_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from night_bundles import given_bundle
    from world import random_vectors, run

    from recbatch.report import show_night

    world = pairs_world([("u", "i"), ("u", "j"), ("v", "i")])
    world.timestamps = False
    bundle = given_bundle(tmp_path / "bundle", random_vectors(["u", "v"]), random_vectors(["i", "j"]))
    run(world.config(world.write(tmp_path)), tmp_path / "out", model=bundle)
    show_night(str(tmp_path / "out"), DS)
    show_night(str(tmp_path / "out"), DS, user="u")
    shown = capsys.readouterr().out
    assert "2 interactions\n" in shown
    assert "  among theirs: " in shown
    assert "last: " not in shown
    assert "recommended: nothing (the reason is in " in shown
    assert "manifest.json, at tables.user2item.not_served)" in shown.replace("\n", " ")
