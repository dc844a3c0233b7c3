"""Nights that are killed: a small world, nights in processes of their own, and what must be as it was afterwards."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
from night_bundles import given_bundle
from world import DS, World, pairs_world, random_vectors

from recbatch.cli.main import main
from recbatch.launch.nightly import Outcome, nightly, recommend
from recbatch.tables.verify import check_output

TABLES = ("user2item", "item2item", "user2user", "item2user", "user_embeddings", "item_embeddings")
SETTINGS: dict[str, Any] = {
    "run": {"range_ids": 3, "slice_rows": 200},
    "tables": {
        "user2item": {"k": 10},
        "item2item": {"k": 10},
        "user2user": {"enabled": False},
        "item2user": {"enabled": False},
    },
    "model": {
        "dim": 8,
        "training": {"epochs": 12, "batch_size": 64, "learning_rate": 0.02, "early_stopping": None},
    },
}


@dataclass(frozen=True)
class Inputs:
    """Inputs with a config and a bundle for them."""

    folder: Path
    config: str
    bundle: Path

    def words(self, output: Path, *more: str) -> list[str]:
        """The command that makes the night of :data:`world.DS` with the bundle, in ``output``."""
        return ["recommend", self.config, "--model", str(self.bundle), "--output", str(output), "--ds", DS, *more]

    def training_words(self, output: Path, *more: str) -> list[str]:
        """The same with a model trained for it."""
        return ["nightly", self.config, "--output", str(output), "--ds", DS, *more]

    def recommend(self, output: Path, *sets: str, beam: Sequence[str] = (), force: bool = False) -> Outcome:
        """Make it in this process."""
        model = str(self.bundle)
        return recommend(self.config, sets, str(output), DS, model=model, force=force, beam_arguments=beam)

    def nightly(self, output: Path, *sets: str) -> Outcome:
        """Make it in this process with a model trained for it."""
        return nightly(self.config, sets, str(output), DS, force=False, beam_arguments=())


def robust_world(users: int = 60, items: int = 45, events: int = 900, seed: int = 3) -> World:
    """Users who keep to items of their own kind."""
    rng = np.random.default_rng(seed)
    who = rng.integers(users, size=events)
    what = (rng.integers(items // 3, size=events) * 3 + who % 3) % items
    return pairs_world((f"u{user:04d}", f"i{item:04d}") for user, item in zip(who, what, strict=True))


def make_inputs(folder: Path, world: World | None = None, settings: dict[str, Any] | None = None) -> Inputs:
    """Write a world, a config and a bundle of given vectors."""
    world = robust_world() if world is None else world
    config = world.config(world.write(folder, files=2, row_group_rows=100), settings or SETTINGS)
    users, items = (sorted({event[key] for event in world.interactions}) for key in ("who", "what"))
    return Inputs(folder, config, given_bundle(folder / "bundle", random_vectors(users), random_vectors(items, seed=1)))


# --- processes ------------------------------------------------------------------------------------------------------

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["recbatch.model.training", "recbatch.launch.pipelines", "recbatch.pipeline"])


def start(words: Sequence[str], log: Path, prepare: Callable[..., None] | None = None, *args: Any) -> ForkServerProcess:
    """Run a command in a process of its own, which leads a process group; ``prepare(*args)`` is called in it first.

    All that it imports is there already, so it takes a second, not ten.
    """
    process = _processes.Process(target=_run, args=(list(words), log, prepare, args))
    process.start()
    return process


def end(process: ForkServerProcess, seconds: float = 120) -> int:
    """Wait for it; its exit code, or minus the signal that killed it."""
    process.join(seconds)
    if process.exitcode is None:
        kill(process)
        raise AssertionError(f"the process did not end within {seconds} s")
    return process.exitcode


def kill(process: ForkServerProcess) -> None:
    """kill -9 to its process group."""
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def wait_for(there: Callable[[], bool], process: ForkServerProcess, seconds: float = 60) -> None:
    """Look every millisecond until something is there."""
    until = time.monotonic() + seconds
    while not there():
        assert process.exitcode is None, "it ended before it could be killed"
        assert time.monotonic() < until, "it did not come so far"
        time.sleep(0.001)


def _run(words: list[str], log: Path, prepare: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs without one
    with log.open("w") as stream, redirect_stderr(stream):
        if prepare is not None:
            prepare(*args)
        code = main(words)
        stream.flush()
    os._exit(code)


# --- faults, called in the process that is to meet them -------------------------------------------------------------


def die_at(module: str, function: str, call: int, *, after: bool) -> None:
    """Kill this process at the nth call of a function, before it does anything or when it has done it."""
    owner = sys.modules[module]
    original = getattr(owner, function)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, function, counted)


# --- what is there --------------------------------------------------------------------------------------------------


def run_parts(output: Path) -> dict[str, Path]:
    """Every part in the run directories of the date, by its path in its run directory."""
    runs = output / "_runs" / DS
    return {str(path.relative_to(runs)).partition("/")[2]: path for path in sorted(runs.rglob("*.parquet"))}


def marks(output: Path) -> dict[str, tuple[int, int]]:
    """(inode, mtime in ns) of every part: both stay if nobody writes it again."""
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in run_parts(output).items()}


def contents(output: Path) -> dict[str, str]:
    """sha256 of every part and of every file in the tables' folders."""
    folders = [output / table / f"ds={DS}" for table in TABLES]
    files = {f"{path.parent.parent.name}/{path.name}": path for folder in folders for path in folder.glob("*.parquet")}
    return {name: _sha256(path) for name, path in {**run_parts(output), **files}.items()}


def leftovers(output: Path) -> list[str]:
    """Temporaries that nobody will take away."""
    return [str(path) for path in output.rglob(".temporary*")]


def assert_whole(output: Path, undisturbed: Path) -> None:
    """The published night is, byte for byte, that of an undisturbed run, and nothing else is there."""
    assert contents(output) == contents(undisturbed)
    assert check_output(str(output)) == ([DS], [])
    assert leftovers(output) == []
    assert len(list((output / "_runs" / DS).iterdir())) == 1


def error_of(text: str) -> str:
    """The one sentence that a failed command writes at its end; fails if there is more, such as a traceback."""
    assert "Traceback" not in text, text
    lines = text.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, text
    assert lines[-1] == errors[0], text
    return errors[0].removeprefix("error: ")


def command(words: Sequence[str]) -> tuple[int, str]:
    """Exit code and standard error of a command in this process."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        code = main(list(words))
    return code, stream.getvalue()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
