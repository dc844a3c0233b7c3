"""The tutorials' models as configurations: what the tutorials say is what they state, and each makes a night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from movielens_world import DS, write_movielens
from world import Published, run

from benchmarks.quality.systems import SYSTEMS
from recbatch.config.load import load_config

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ID: dict[str, Any] = {"kind": "id", "dim": 32}
TIME = {"kind": "timestamp", "dim": 32, "bins": 1_000, "normalized": True}
TEXT = {"kind": "text", "dim": 32, "max_tokens": 10_000}
GRU = {"kind": "history", "pooling": "gru", "dim": 32, "units": None, "length": 10}
TUTORIALS = ("100k-basic", "100k-context", "100k-deep", "1m-gru")


def path_of(name: str) -> str:
    return str(CONFIGS / f"movielens-{name}.yaml")


@pytest.mark.parametrize(
    ("name", "batch_size", "epochs", "query", "candidate", "dense"),
    [
        ("100k-basic", 8_192, 3, [ID], [ID], False),
        ("100k-context", 2_048, 3, [ID, TIME], [ID, TEXT], True),
        ("100k-deep", 2_048, 5, [ID, TIME], [ID, TEXT], True),
        ("1m-gru", 12_800, 3, [GRU], [ID], False),
    ],
)
def test_a_tutorials_model_has_the_tutorials_settings(
    name: str,
    batch_size: int,
    epochs: int,
    query: list[dict[str, Any]],
    candidate: list[dict[str, Any]],
    dense: bool,
) -> None:
    """All of them: Adagrad at .1, embeddings and vectors 32 wide. Dense: one linear layer of 32 on both towers."""
    model = load_config(path_of(name), []).model
    training = model.training
    assert (training.optimizer, training.learning_rate, training.schedule) == ("adagrad", 0.1, "constant")
    assert (training.batch_size, training.epochs, training.early_stopping) == (batch_size, epochs, None)
    assert (model.dim, model.normalize, model.temperature) == (32, False, 1.0)
    for tower, features in ((model.query, query), (model.candidate, candidate)):
        assert (tower.layers, tower.projection) == ([], dense)
        for feature, wanted in zip(tower.features, features, strict=True):
            said = feature.model_dump()
            assert {key: said[key] for key in wanted} == wanted


def test_the_deep_tutorials_settings_differ_in_widths_and_epochs() -> None:
    for name, widths in (("deep-32", []), ("deep-64-32", [64]), ("deep-128-64-32", [128, 64])):
        model = load_config(path_of("100k-deep"), SYSTEMS[name].overrides).model
        assert (model.query.layers, model.candidate.layers, model.dim) == (widths, widths, 32)
        assert (model.training.epochs, model.training.batch_size, model.training.learning_rate) == (300, 2_048, 0.1)


@pytest.mark.heavy
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorials_model_makes_a_night(name: str, tmp_path: Path) -> None:
    source = write_movielens(tmp_path)
    sets = [*source.pointing(path_of(name)), "model.training.epochs=1", "model.training.refit=false"]
    run(path_of(name), tmp_path / "output", ds=DS, sets=sets)
    night = Published(tmp_path / "output", DS)
    tables = night.manifest["tables"]
    for table in ("user2item", "item2item", "user2user", "item2user"):
        assert tables[table]["rows"] > 0, table
    served = {query for query, _, _, source in night.rows("user2item") if source == "model"}
    assert len(served) == 40, "every user is served by the model"
    assert len(next(iter(night.vectors("user_embeddings").values()))) == 32
