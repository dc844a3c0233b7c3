"""The linear head in bundles: exported where it helps, and left out of everything where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tensorflow as tf
from model_data import history_model, interactions, planted

from recbatch.config.models import LinearHead
from recbatch.model import Tower, TrainingData, linear, load_bundle, load_tower, train_bundle
from recbatch.model.evaluation import HeldoutEvaluation
from recbatch.model.gate import measured_towers

DIM = 8
PROFILES = pa.table({"id": ["new", "nobody"], "history": pa.array([["item/0", "item/2"], []], pa.list_(pa.string()))})
HEAD = {"places:0", "table:0"}
RANDOM = {"heldout": {"split": "random", "share": 0.2}}


class Solved:
    """Counts how often a head is solved, and lets it win or lose against the towers alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, wins: bool) -> None:
        self.times = 0
        solve, metrics = linear.solve_linear, HeldoutEvaluation.metrics

        def counted(*arguments: Any) -> linear.LinearWeights:
            self.times += 1
            return solve(*arguments)

        def judged(evaluation: HeldoutEvaluation) -> dict[str, float]:
            with_head = evaluation._query.linear is not None
            return dict.fromkeys(metrics(evaluation), 0.75 if with_head == wins else 0.25)

        monkeypatch.setattr(linear, "solve_linear", counted)
        monkeypatch.setattr(HeldoutEvaluation, "metrics", judged)


def headed_bundle(
    folder: Path, data: TrainingData, training: dict[str, Any], *, retriever: bool = False
) -> dict[str, Any]:
    model = history_model(linear={"rank": 4, "regularizations": [5]}, item_bias=True, training=training)
    return train_bundle(
        model,
        data,
        str(folder / "b"),
        work_folder=str(folder / "w"),
        as_of_us=None,
        fingerprint="x",
        retriever=retriever,
    )


def weights_of(tower: Any) -> set[str]:
    """Names of the weights in a SavedModel."""
    return {variable.name.rpartition("/")[2] for variable in tower.weights}


def exported_towers(folder: Path, manifest: dict[str, Any]) -> list[Tower]:
    """Those of the nights, then those that were measured."""
    bundle = str(folder / "b")
    towers = [load_tower(bundle, "query"), load_tower(bundle, "candidate")]
    return [*towers, *measured_towers(load_bundle(bundle))] if manifest["measured"] else towers


@pytest.mark.heavy
@pytest.mark.parametrize("refit", [True, False])
def test_a_bundle_has_it_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refit: bool) -> None:
    solved = Solved(monkeypatch, wins=True)
    manifest = headed_bundle(tmp_path, planted(), {"refit": refit, **RANDOM})
    assert (manifest["dim"], manifest["bias_coordinate"]) == (DIM + 4 + 1, DIM + 4)
    assert manifest["linear"]["share"] == LinearHead().shares[0]
    assert manifest["linear"]["strength"] > 0
    assert manifest["metrics"]["heldout_ndcg_at_10"] == 0.75
    assert solved.times == 1 + refit
    towers = exported_towers(tmp_path, manifest)
    assert [tower.dim for tower in towers] == [DIM + 4 + 1] * (4 if refit else 2)
    for query, candidate in zip(towers[::2], towers[1::2], strict=True):
        assert weights_of(query._model) & weights_of(candidate._model) >= HEAD
        vectors, known = query.embed(PROFILES)
        assert known.tolist() == [True, False]
        assert vectors[0, DIM:-1].any()
        assert not vectors[1, DIM:-1].any()
        items, _ = candidate.embed(pa.table({"id": ["item/0", "unheard of"]}))
        assert items[0, DIM:-1].any()
        assert not items[1, DIM:-1].any()


@pytest.mark.heavy
@pytest.mark.parametrize("refit", [True, False])
def test_a_bundle_goes_without_what_does_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refit: bool) -> None:
    solved = Solved(monkeypatch, wins=False)
    manifest = headed_bundle(tmp_path, planted(), {"refit": refit, **RANDOM}, retriever=not refit)
    assert manifest["linear"] == {"regularization": 0.0, "share": 0.0, "strength": 0.0}, "it was weighed"
    assert manifest["metrics"]["heldout_ndcg_at_10"] == 0.75
    assert solved.times == 1
    check_headless(tmp_path, manifest)
    if not refit:
        retriever = tf.saved_model.load(str(load_bundle(str(tmp_path / "b")).folder / "retriever"))
        assert not weights_of(retriever.tower) & HEAD


def check_headless(folder: Path, manifest: dict[str, Any]) -> None:
    assert (manifest["dim"], manifest["bias_coordinate"]) == (DIM + 1, DIM)
    for tower in exported_towers(folder, manifest):
        assert tower.dim == DIM + 1
        vectors, _ = tower.embed(PROFILES)
        assert vectors.shape == (2, DIM + 1)
        assert not weights_of(tower._model) & HEAD


@pytest.mark.heavy
@pytest.mark.parametrize("world", ["nothing held out", "nothing to ask for"])
def test_a_head_that_cannot_be_weighed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, world: str
) -> None:
    solved = Solved(monkeypatch, wins=True)
    count = 1 if world == "nothing held out" else 20  # users who took one item each: the newest are cold
    table = interactions([f"u{n}" for n in range(count)], [f"i{n}" for n in range(count)], [*range(count)])
    manifest = headed_bundle(tmp_path, TrainingData(table), {"heldout": {"split": "time", "share": 0.25}})
    assert manifest["counts"]["heldout_events"] == (0 if count == 1 else 5)
    assert manifest["counts"].get("heldout_events_evaluated", 0) == 0
    assert (manifest["linear"], manifest["metrics"], solved.times) == (None, {}, 0)
    assert "the linear head is left out" in caplog.text
    check_headless(tmp_path, manifest)
