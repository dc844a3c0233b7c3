"""A night of a model with an item bias: it counts in dot products, and neither in cosines nor for users."""

from __future__ import annotations

from typing import Any

import night_oracle as oracle
import numpy as np
import pytest
import tensorflow as tf
from world import Published, World, pairs_world, run

from recbatch.night import Night

DIM = 8
ROWS = {"k": 10, "exclude_seen": False}


def favourites() -> World:
    """Users of one of three kinds keep to its twenty items, the first far more often than the last."""
    random = np.random.default_rng(4)
    popularity = 1 / np.arange(1, 21)
    pairs = []
    for user in range(60):
        for item in random.choice(20, 7, replace=False, p=popularity / popularity.sum()):
            pairs.append((f"user {user:02d}", f"item {user % 3}-{item:02d}"))
    return pairs_world(pairs)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Published, Night]:
    folder = tmp_path_factory.mktemp("bias")
    training = {"min_steps": 150, "learning_rate": 0.03, "batch_size": 64, "early_stopping": None, "refit": False}
    model: dict[str, Any] = {"dim": DIM, "item_bias": True, "temperature": 0.5, "normalize": True}
    tables = {"user2item": ROWS, "item2user": {"k": 10}, "item2item": {"k": 10}, "user2user": {"k": 10}}
    settings = {"model": {**model, "training": training, "retriever": {"k": 10}}, "tables": tables}
    world = favourites()
    config = world.config(world.write(folder / "inputs"), settings)
    outcome = run(config, folder / "out")
    return world, Published(folder / "out"), outcome.night


@pytest.mark.heavy
def test_the_bias_is_the_last_coordinate(night: tuple[World, Published, Night]) -> None:
    world, published, _ = night
    users, items = published.vectors("user_embeddings"), published.vectors("item_embeddings")
    assert {vector.shape for vector in (*users.values(), *items.values())} == {(DIM + 1,)}
    assert {vector[DIM] for vector in users.values()} == {1}
    taken = [sum(event["what"] == item for event in world.interactions) for item in items]
    assert np.corrcoef(np.log(taken), [vector[DIM] for vector in items.values()])[0, 1] > 0.7


@pytest.mark.heavy
@pytest.mark.parametrize("table", list(oracle.SIDES))
def test_dot_products_count_it_and_cosines_do_not(night: tuple[World, Published, Night], table: str) -> None:
    world, published, _ = night
    settings = ROWS if table == "user2item" else {"k": 10}
    oracle.check_table(published, table, world, oracle.Rules(), settings, bias=DIM)
    left, right = (published.vectors(f"{side}_embeddings") for side in oracle.SIDES[table])
    rows, scores = published.rows(table), published.scores(table)
    of_pairs = np.array([(left[query], right[candidate]) for query, _, candidate, _ in rows], np.float64)
    vectors = of_pairs if table in ("user2item", "item2user") else of_pairs[:, :, :DIM]
    # The towers are normalised: without the bias, their dot product is the cosine.
    np.testing.assert_allclose(scores, (vectors[:, 0] * vectors[:, 1]).sum(axis=1), rtol=1e-5, atol=1e-5)


@pytest.mark.heavy
def test_the_retriever_answers_as_user2item(night: tuple[World, Published, Night]) -> None:
    _, published, made = night
    retriever = tf.saved_model.load(f"{made.bundle.uri}/retriever")
    rows, scores = published.rows("user2item"), published.scores("user2item").reshape(-1, 10)
    users = [query for query, rank, _, _ in rows if rank == 1]
    found = retriever.signatures["serving_default"](user_id=tf.constant(users))
    np.testing.assert_allclose(found["scores"].numpy(), scores, atol=1e-5)
    expected = np.array([candidate for _, _, candidate, _ in rows]).reshape(-1, 10)
    swapped = found["ids"].numpy().astype(str) != expected
    assert swapped.mean() < 0.02, "items whose scores are the same in float32 may come in another order"
