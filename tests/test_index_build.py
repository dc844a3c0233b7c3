"""An index is built the same everywhere, loads from anywhere, and nothing strange is loaded with it."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from neighbours_world import clustered

from recbatch.errors import RecbatchError
from recbatch.index import (
    BudgetCache,
    Candidates,
    IndexParameters,
    SearchParameters,
    build_index,
    index_checksum,
    load_index,
)

COUNT = 2_000
PARAMETERS = IndexParameters(leaves=40)


@pytest.fixture(scope="module")
def candidates() -> Candidates:
    return Candidates.of(clustered(COUNT, seed=1), "dot")


@pytest.fixture(scope="module")
def built(candidates: Candidates, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("index") / "files"
    return folder, build_index(candidates, PARAMETERS, folder)


def copy_of(built: tuple[Path, dict[str, str]], tmp_path: Path) -> tuple[Path, dict[str, str]]:
    shutil.copytree(built[0], tmp_path / "moved")
    return tmp_path / "moved", built[1]


BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from neighbours_world import clustered
from recbatch.index import Candidates, IndexParameters, build_index, index_checksum, load_index
folder = Path({folder!r})
candidates = Candidates.of(clustered(12_000, seed=1), "cosine")
files = build_index(candidates, IndexParameters(300, training_sample=5_000), folder)
load_index(folder, files)
assert not {{"tensorflow", "scann"}} & set(sys.modules), "TensorFlow was imported"
print(index_checksum(files))
"""


def test_builds_are_bit_identical_across_processes(tmp_path: Path) -> None:
    """Over 256 leaves and a training sample: what differs from build to build if several threads train."""
    tests = str(Path(__file__).parent)
    code = [BUILD.format(tests=tests, folder=str(tmp_path / str(number))) for number in range(2)]
    runs = [subprocess.Popen([sys.executable, "-c", each], stdout=subprocess.PIPE, text=True) for each in code]
    first, second = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert first == second
    assert first.startswith("sha256:")


def test_a_moved_index_answers_the_same(
    candidates: Candidates, built: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    here, there = load_index(*built), load_index(*copy_of(built, tmp_path))
    queries = candidates.prepare_queries(clustered(50, seed=2))
    answer = here.search(queries, 20, SearchParameters(10, 100))
    assert answer.tolist() == there.search(queries, 20, SearchParameters(10, 100)).tolist()
    assert answer.shape == (50, 20)
    assert (here.candidates, here.width, here.similarity, here.parameters) == (COUNT, 16, "dot", PARAMETERS)
    assert 0 < here.nbytes < 4 * candidates.vectors.nbytes


def test_an_answer_does_not_depend_on_the_other_queries(
    candidates: Candidates, built: tuple[Path, dict[str, str]]
) -> None:
    searcher = load_index(*built)
    queries = candidates.prepare_queries(clustered(300, seed=2))
    parameters = SearchParameters(3, 60)
    together = searcher.search(queries, 40, parameters)
    for step in (1, 2, 5, 30, 63, 64, 65):
        pieces = [searcher.search(queries[first : first + step], 40, parameters) for first in range(0, 300, step)]
        assert np.concatenate(pieces).tolist() == together.tolist()
    order = np.random.default_rng(0).permutation(300)
    assert searcher.search(queries[order], 40, parameters).tolist() == together[order].tolist()


def test_missing_results_are_not_candidate_0(candidates: Candidates, built: tuple[Path, dict[str, str]]) -> None:
    searcher = load_index(*built)
    queries = candidates.prepare_queries(clustered(50, seed=2))
    found = searcher.search(queries, COUNT, SearchParameters(1, COUNT))
    counts = (found >= 0).sum(axis=1)
    assert (counts < COUNT).all()
    for row, count in zip(found, counts, strict=True):
        assert len(set(row[:count].tolist())) == count
        assert (row[count:] == -1).all()
    assert sorted(searcher.search(queries[:1], COUNT, SearchParameters(999, 10**6))[0].tolist()) == list(range(COUNT))
    assert searcher.search(queries[:0], 7, SearchParameters(1, 7)).shape == (0, 7)


class Unpickled:
    def __reduce__(self) -> tuple:
        return pytest.fail, ("it was unpickled",)


def test_files_that_do_not_belong_are_refused(built: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, files = copy_of(built, tmp_path)
    (folder / "scann_docids.pkl").write_bytes(pickle.dumps(Unpickled()))
    with pytest.raises(RecbatchError, match=r"scann_docids\.pkl does not belong to it"):
        load_index(folder, files)


@pytest.mark.parametrize("name", ["scann_assets.pbtxt", "hashed_dataset.npy", "index.json"])
def test_changed_or_missing_files_are_refused(built: tuple[Path, dict[str, str]], tmp_path: Path, name: str) -> None:
    folder, files = copy_of(built, tmp_path)
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(RecbatchError, match=f"{name} has other content"):
        load_index(folder, files)
    (folder / name).unlink()
    with pytest.raises(RecbatchError, match=f"{name} is missing"):
        load_index(folder, files)


def test_what_an_index_cannot_be_built_of(candidates: Candidates, tmp_path: Path) -> None:
    for count in (0, 1, 15, 16, 99):
        few = Candidates.of(candidates.vectors[:count], "dot")
        with pytest.raises(RecbatchError, match=f"{count} candidates are too few"):
            build_index(few, IndexParameters.for_candidates(count), tmp_path / str(count))
    with pytest.raises(RecbatchError, match="too few for an index of 3000 leaves"):
        build_index(candidates, IndexParameters(3_000), tmp_path / "leaves")
    (tmp_path / "something").touch()
    with pytest.raises(RecbatchError, match="not empty"):
        build_index(candidates, PARAMETERS, tmp_path)


@pytest.mark.parametrize("scale", [0.0, 1e-35, 1e15])
def test_odd_vectors_neither_abort_nor_spoil_the_index(scale: float, tmp_path: Path) -> None:
    vectors = clustered(COUNT, 8, seed=3) * np.float32(scale)
    candidates = Candidates.of(vectors, "dot")
    searcher = load_index(tmp_path, build_index(candidates, PARAMETERS, tmp_path))
    found = searcher.search(candidates.prepare_queries(clustered(20, 8, seed=4)), 10, SearchParameters(40, 200))
    assert (found >= 0).all()
    if scale:
        wide = clustered(20, 8, seed=4).astype(np.float64) @ vectors.astype(np.float64).T
        best = np.argsort(-wide, axis=1)[:, :10]
        shares = [len(set(row) & set(right)) / 10 for row, right in zip(found.tolist(), best.tolist(), strict=True)]
        assert np.mean(shares) > 0.95


def test_checksum_of_an_index_is_of_all_its_files(built: tuple[Path, dict[str, str]]) -> None:
    files = built[1]
    whole = index_checksum(files)
    assert whole == index_checksum(dict(reversed(files.items())))
    for name in files:
        assert index_checksum({**files, name: "sha256:0"}) != whole
        assert index_checksum({other: files[other] for other in files if other != name}) != whole


def sized(nbytes: int) -> SimpleNamespace:
    return SimpleNamespace(nbytes=nbytes)


def test_cache_keeps_to_its_budget_and_counts_loads() -> None:
    cache: BudgetCache[SimpleNamespace] = BudgetCache(budget=100)
    loads: list[str] = []
    first = cache.get("a", lambda: sized(40), loads.append)
    cache.get("b", lambda: sized(40), loads.append)
    assert cache.get("a", lambda: sized(40), loads.append) is first
    cache.get("c", lambda: sized(40), loads.append)  # b was used least recently
    assert cache.get("a", lambda: sized(40), loads.append) is first
    assert loads == ["a", "b", "c"]
    cache.get("b", lambda: sized(40), loads.append)
    assert loads == ["a", "b", "c", "b"]
    assert cache.nbytes == 80
    cache.get("big", lambda: sized(500), loads.append)
    assert cache.nbytes == 500


def test_cache_makes_room_before_it_loads() -> None:
    cache: BudgetCache[SimpleNamespace] = BudgetCache(budget=100)
    held: list[int] = []

    def load() -> SimpleNamespace:
        held.append(cache.nbytes)
        return sized(30)

    for name in ("a", "b", "c"):
        cache.get(name, load, expected=50)
    assert held == [0, 30, 30]  # with a and b there it would have been 60 + 50
    with cache.room(80):
        assert cache.nbytes == 0
        for name in ("a", "b"):
            cache.get(name, load, expected=30)
        assert cache.nbytes == 30  # what was loaded last is kept, whatever is taken beside it


def test_blocks_that_do_not_fit_together_take_turns() -> None:
    cache: BudgetCache[SimpleNamespace] = BudgetCache(budget=100)
    taken: list[int] = []
    most: list[int] = []
    both = threading.Barrier(2, timeout=20)

    def work(size: int, meet: bool) -> None:
        with cache.room(size):
            taken.append(size)
            most.append(sum(taken))
            if meet:
                both.wait()
            else:
                time.sleep(0.02)
            taken.remove(size)

    for sizes, meet, largest in (((50, 50), True, 100), ((60, 50, 500), False, 500)):
        most.clear()
        threads = [threading.Thread(target=work, args=(size, meet)) for size in sizes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(most) == largest  # the two at once; else each alone, even one that is larger than the budget


def test_cache_loads_once_for_all_threads_and_again_after_a_failure() -> None:
    cache: BudgetCache[SimpleNamespace] = BudgetCache(budget=100)
    loads: list[str] = []

    def fail() -> SimpleNamespace:
        raise OSError("not now")

    def load() -> SimpleNamespace:
        time.sleep(0.05)
        return sized(1)

    with pytest.raises(OSError, match="not now"):
        cache.get("a", fail, loads.append)
    threads = [threading.Thread(target=cache.get, args=("a", load, loads.append)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["a"]
