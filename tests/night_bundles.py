"""Model bundles for nights without a fit: towers that look ids up among given vectors; and one that is trained once."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from world import DS, Vectors, World

from recbatch.config.models import Entity, Model
from recbatch.launch.training import train
from recbatch.model.bundle import FORMAT, MANIFEST, file_list


def given_bundle(folder: Path, users: Vectors, items: Vectors, *, bias: int | None = None) -> Path:
    """A bundle that gives every id its vector; ids without one are cold.

    Args:
        folder: is made.
        users: vectors by user id, all of one width; they may hold anything.
        items: vectors by item id, of the same width.
        bias: coordinate that the manifest names as a bias.
    """
    dim = max((len(vector) for vector in [*users.values(), *items.values()]), default=4)
    _lookup_tower(folder / "query", "user", users, dim)
    _lookup_tower(folder / "candidate", "item", items, dim)
    manifest = {
        "format": FORMAT,
        "fingerprint": "made by hand",
        "as_of_us": None,
        "steps": 0,
        "heldout": "nothing",
        "refit": False,
        "metrics": {},
        "counts": {},
        "retriever": {},
        "seconds": 0.0,
        "dim": dim,
        "normalize": False,
        "bias_coordinate": bias,
        "first_event_us": None,
        "last_event_us": None,
        "model": Model(dim=dim).model_dump(mode="json"),
        "towers": {"query": _description("user", dim), "candidate": _description("item", dim)},
        "versions": {},
        "processor": {},
        "files": file_list(folder),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@functools.cache
def trained_bundle(parent: Path) -> tuple[World, Path, Path]:
    """(world, folder of its inputs, bundle): a tiny model fitted once per session, in a folder below ``parent``.

    Users and items are of four clusters, and users keep to items of their own.
    """
    rng = np.random.default_rng(5)
    start = 1_709_900_000_000
    events = []
    for user in range(60):
        own = [item for item in range(80) if item % 4 == user % 4]
        for number, item in enumerate(rng.choice(own, 8, replace=False)):
            at = start + 1_000 * (60 * number + user)
            events.append({"who": f"user {user}", "what": f"item {item}", "at": at, "stars": 4.0, "kind": "view"})
    world = World(events)
    folder = world.write(parent / "trained")
    training = {"epochs": 30, "batch_size": 128, "learning_rate": 0.02, "early_stopping": None, "refit": False}
    config = world.config(folder, {"model": {"dim": 8, "training": training}})
    train(config, [], str(folder / "bundle"), DS, beam_arguments=[])
    return world, folder, folder / "bundle"


def _lookup_tower(folder: Path, entity: Entity, vectors: Vectors, dim: int) -> None:
    import tensorflow as tf

    name = f"{entity}_id"
    ids = tf.constant([key.encode() for key in vectors], tf.string, [len(vectors)])
    places = tf.lookup.KeyValueTensorInitializer(ids, tf.range(len(vectors), dtype=tf.int32))
    module = tf.Module()
    module.places = tf.lookup.StaticHashTable(places, -1)
    # A first row for the cold ones, so that there is something to gather where there are no vectors at all.
    module.vectors = tf.Variable(np.stack([np.zeros(dim, np.float32), *vectors.values()]), trainable=False)

    def serve(**raw: Any) -> dict[str, Any]:
        place = module.places.lookup(raw[name])
        return {"embedding": tf.gather(module.vectors, place + 1), "known": place >= 0}

    signature = tf.function(serve).get_concrete_function(**{name: tf.TensorSpec([None], tf.string, name=name)})
    tf.saved_model.save(module, str(folder), signatures=signature)


def _description(entity: Entity, dim: int) -> dict[str, Any]:
    """What a bundle's manifest says of a tower that knows the id alone."""
    reads = {"name": f"{entity}_id", "dtype": "string", "length": None, "column": "id", "features": ["id"]}
    return {"entity": entity, "dim": dim, "inputs": [reads], "features": [{"name": "id", "kind": "id", "on": True}]}
