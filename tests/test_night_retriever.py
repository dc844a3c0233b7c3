"""The exported retriever answers like the published table: the same towers, asked one way and the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from world import DS, Published, World

from recbatch.launch.nightly import nightly

_FRESH = """
import sys
for name in ("tf_keras", "keras", "tensorflow_recommenders", "recbatch"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
folder, users, answers = sys.argv[1:]
import scann  # registers the ops of the ScaNN layer
retriever = tf.saved_model.load(folder)
found = retriever.signatures["serving_default"](user_id=tf.constant(open(users).read().splitlines()))
np.savez(answers, ids=found["ids"].numpy().astype(str), scores=found["scores"])
"""


def clustered_world(users: int, items: int) -> World:
    """Users who keep to items of their own kind."""
    rng = np.random.default_rng(11)
    events = []
    for user in range(users):
        own = [item for item in range(items) if item % 4 == user % 4]
        for number, item in enumerate(rng.choice(own, 6, replace=False)):
            at = 1_709_900_000_000 + 1_000 * (60 * number + user)
            events.append({"who": f"user {user}", "what": f"item {item}", "at": at, "stars": 4.0, "kind": "view"})
    return World(events)


@pytest.mark.heavy
@pytest.mark.parametrize(("layer", "users", "items"), [("brute_force", 40, 60), ("scann", 80, 240)])
def test_the_retriever_gives_what_user2item_publishes(tmp_path: Path, layer: str, users: int, items: int) -> None:
    training = {"min_steps": 100, "learning_rate": 0.02, "batch_size": 64, "early_stopping": None, "refit": False}
    settings = {
        "model": {"dim": 8, "training": training, "retriever": {"layer": layer, "k": 10}},
        "tables": {"user2item": {"k": 10, "exclude_seen": False}},
    }
    world = clustered_world(users, items)
    config = world.config(world.write(tmp_path / "inputs"), settings)
    night = nightly(config, [], str(tmp_path / "out"), DS, force=False, beam_arguments=[]).night

    table = Published(tmp_path / "out").table("user2item")
    ids = list(dict.fromkeys(table["user_id"].to_pylist()))
    (tmp_path / "users.txt").write_text("\n".join(ids))
    words = [f"{night.bundle.uri}/retriever", str(tmp_path / "users.txt"), str(tmp_path / "answers.npz")]
    subprocess.run([sys.executable, "-c", _FRESH, *words], check=True, capture_output=True)
    answers = np.load(tmp_path / "answers.npz")

    published = table["item_id"].to_numpy(zero_copy_only=False).reshape(len(ids), 10)
    scores = table["score"].to_numpy().reshape(len(ids), 10)
    if layer == "brute_force":
        assert np.abs(answers["scores"] - scores).max() < 1e-5
        swapped = answers["ids"] != published
        assert np.abs(np.where(swapped, answers["scores"] - scores, 0)).max() < 1e-5
        assert swapped.mean() < 0.01
    else:
        found = [len(set(left) & set(right)) / 10 for left, right in zip(answers["ids"], published, strict=True)]
        # It looks at all of so few items, so what its hashing ranks too low is all that it can miss.
        assert np.mean(found) > 0.95, "by chance it would be 0.04"
