"""kill -9 at any moment, then the same command again: only what is missing is made, and all is as if undisturbed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import numpy as np
import pytest
from robust_nights import (
    TABLES,
    Inputs,
    assert_whole,
    contents,
    die_at,
    end,
    kill,
    leftovers,
    make_inputs,
    marks,
    run_parts,
    start,
    wait_for,
)
from world import DS, Published

from recbatch.launch.nightly import Outcome
from recbatch.tables.pointer import read_pointer

pytestmark = pytest.mark.heavy

STORAGE = "recbatch.storage.local"
RANDOM = np.random.default_rng(20240309)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def undisturbed(inputs: Inputs) -> Path:
    """A night by the given bundle that nobody disturbs."""
    assert inputs.recommend(inputs.folder / "undisturbed").published
    return inputs.folder / "undisturbed"


def steps_of(parts: dict[str, Path]) -> dict[str, int]:
    """How many parts each step has, as the pipeline counts them."""
    names = {"0_slices": "clean", "2_embeddings": "embed", "4_tables": "search"}
    steps = [f"group_{name.split('/')[1]}" if name[0] == "1" else names[name.split("/")[0]] for name in parts]
    return {step: steps.count(step) for step in ("clean", "group_users", "group_items", "embed", "search")}


def assert_only_missing_made(outcome: Outcome, before: dict[str, Path], every: dict[str, Path]) -> None:
    """By the pipeline's counters and by the manifest."""
    there, planned = steps_of(before), steps_of(every)
    for step, count in planned.items():
        assert outcome.counters.get(f"{step}_parts_made", 0) == count - there[step], step
        assert outcome.counters.get(f"{step}_parts_found", 0) == there[step], step
    if there["group_users"] == planned["group_users"] and there["group_items"] == planned["group_items"]:
        assert "split_chunks" not in outcome.counters, "it was grouped again"
    else:
        assert outcome.counters["split_chunks"] > 0


def resume(inputs: Inputs, output: Path, undisturbed: Path) -> None:
    """Run the command of a killed process again and hold the night against the undisturbed one."""
    before, parts, every = marks(output), run_parts(output), run_parts(undisturbed)
    has_manifest = any((output / "_runs").glob("*/*/manifest.json"))
    outcome = inputs.recommend(output)
    assert_only_missing_made(outcome, parts, every)
    if not has_manifest:
        work = Published(output).manifest["work"]
        assert sum(found["made"] for found in work.values()) == len(every) - len(parts)
        assert sum(found["found"] for found in work.values()) == len(parts)
    assert marks(output).items() >= before.items()
    assert_whole(output, undisturbed)


@pytest.mark.parametrize("parts", [9, int(RANDOM.integers(25, 50))])
def test_killed_when_so_many_parts_are_there(inputs: Inputs, undisturbed: Path, tmp_path: Path, parts: int) -> None:
    """From outside, at whatever the process is doing then."""
    assert len(run_parts(undisturbed)) > 80
    output = tmp_path / "out"
    process = start(inputs.words(output), tmp_path / "log")
    wait_for(lambda: len(run_parts(output)) >= parts, process)
    kill(process)
    assert parts <= len(run_parts(output)) < len(run_parts(undisturbed))
    resume(inputs, output, undisturbed)


def test_killed_again_and_again(inputs: Inputs, undisturbed: Path, tmp_path: Path) -> None:
    """Each attempt gets a little further, is killed at a step of the file system, and keeps what was there."""
    output = tmp_path / "out"
    kept: dict[str, tuple[int, int]] = {}
    for number, (function, call, after) in enumerate(
        [
            ("_link", 3, False),  # a slice is encoded, but has no name yet
            ("_link", int(RANDOM.integers(20, 30)), True),  # it has one, but nobody knows
            ("_link", int(RANDOM.integers(20, 30)), False),
            ("compare_and_swap", 1, False),  # all is audited, nothing is published
            ("compare_and_swap", 1, True),  # published, but the folders do not show it
            ("_swap", 1, False),  # the first table's new folder is ready
            ("_swap", 3, True),  # half of the tables show it
        ]
    ):
        process = start(inputs.words(output), tmp_path / f"log{number}", _die, function, call, after)
        assert end(process) == -signal.SIGKILL, function
        assert marks(output).items() >= kept.items()
        kept = marks(output)
        published = read_pointer(str(output), DS) is not None
        assert published == ((function, after) == ("compare_and_swap", True) or function == "_swap")
    assert len(kept) == len(run_parts(undisturbed))
    assert not inputs.recommend(output).published  # the folders alone were mended
    assert marks(output) == kept
    assert_whole(output, undisturbed)


def test_a_killed_first_night_hides_no_published_one(inputs: Inputs, undisturbed: Path, tmp_path: Path) -> None:
    """A changed night that is killed while it is being made leaves readers the old one."""
    output = tmp_path / "out"
    inputs.recommend(output)
    before = contents(output)
    process = start([*inputs.words(output), "--set", "tables.user2item.k=3"], tmp_path / "log", _die, "_link", 60, True)
    assert end(process) == -signal.SIGKILL
    shown = {name: checksum for name, checksum in contents(output).items() if name.split("/")[0] in TABLES}
    assert shown == {name: checksum for name, checksum in before.items() if name.split("/")[0] in TABLES}
    assert Published(output).manifest["identity"]["config"]["tables"]["user2item"]["k"] == 10
    assert leftovers(output) == []
    assert inputs.recommend(output, "tables.user2item.k=3").published
    assert max(rank for _, rank, _, _ in Published(output).rows("user2item")) == 3


@pytest.fixture(scope="module")
def trained(inputs: Inputs) -> Path:
    """A night with a training that nobody disturbs."""
    assert inputs.nightly(inputs.folder / "trained").published
    return inputs.folder / "trained"


def test_killed_in_training(inputs: Inputs, trained: Path, tmp_path: Path) -> None:
    """In a fit, in the export, and when the bundle has just been put in its place."""
    output = tmp_path / "out"
    fit = f"checkpoints/{RANDOM.choice(['measured', 'refit'])}.npz"
    for moment in (fit, "bundle/candidate/saved_model.pb"):
        process = start(inputs.training_words(output), tmp_path / "log")
        wait_for(lambda moment=moment: any((output / "_models").glob(f"*.training/{moment}")), process)  # type: ignore[misc]
        kill(process)
        assert not any((output / "_models").glob("*/manifest.json"))
    before = marks(output)
    process = start(inputs.training_words(output), tmp_path / "log", _die, "_move", 1, True)
    assert end(process) == -signal.SIGKILL
    assert any((output / "_models").glob("*/manifest.json"))
    assert inputs.nightly(output).published
    assert marks(output).items() >= before.items()
    assert_whole(output, trained)
    assert weights(output) == weights(trained)
    assert not list((output / "_models").glob("*.training/checkpoints"))


def test_two_processes_make_the_same_night(inputs: Inputs, trained: Path, tmp_path: Path) -> None:
    """Both train, search and publish, both end well, and there is one of everything."""
    output = tmp_path / "out"
    both = [start(inputs.training_words(output), tmp_path / f"log{number}") for number in range(2)]
    assert [end(process) for process in both] == [0, 0]
    assert len(list((output / "_models").glob("*/manifest.json"))) == 1
    assert_whole(output, trained)
    made = [int(found) for log in tmp_path.glob("log?") for found in re.findall(r"(\d+) parts made", log.read_text())]
    assert sum(made) == len(run_parts(output))


def weights(output: Path) -> dict[str, bytes]:
    """The weights of both towers."""
    files = (output / "_models").glob("*/*/variables/variables.data-*")
    return {f"{path.parent.parent.name}/{path.name}": path.read_bytes() for path in files}


def _die(function: str, call: int, after: bool) -> None:
    die_at(STORAGE, function, call, after=after)
