"""What a bundle's manifest says, so that it can be loaded, checked and explained without the config it came from."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbatch.config.models import Model, TimestampFeature
from recbatch.model.bundle import FORMAT, file_list
from recbatch.model.data import Events
from recbatch.model.serving import describe_inputs
from recbatch.model.towers import TowerModel
from recbatch.run import library_versions


def bundle_manifest(
    folder: Path, *, model: Model, query: TowerModel, candidate: TowerModel, events: Events, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of the SavedModels in ``folder``.

    Args:
        folder: holds everything but the manifest.
        model: the configuration as used.
        query: the exported query tower, and ``candidate`` the other.
        events: the positives in the data.
        facts: what the training found out: fingerprint, as-of, steps, metrics, counts and so on; added as they are.
    """
    times = events.times_us
    return {
        "format": FORMAT,
        **facts,
        "dim": query.width,
        "normalize": model.normalize,
        "bias_coordinate": query.width - 1 if model.item_bias else None,
        "first_event_us": None if times is None else int(times.min()),
        "last_event_us": None if times is None else int(times.max()),
        "model": model.model_dump(mode="json"),
        "towers": {"query": tower_description(query, model), "candidate": tower_description(candidate, model)},
        "versions": library_versions(),
        "processor": {"machine": platform.machine(), "instructions": _vector_instructions()},
        "files": file_list(folder),
    }


def tower_description(tower: TowerModel, model: Model) -> dict[str, Any]:
    """A tower's entity, width, inputs and features; a feature is ``on``, or off with a reason."""
    features = []
    for name, feature in tower.feature_configs.items():
        entry: dict[str, Any] = {**feature.model_dump(mode="json"), "name": name, "on": name in tower.learnt.layers}
        if name in tower.learnt.off:
            entry["reason"] = tower.learnt.off[name]
        if name in tower.learnt.remarks:
            entry["remark"] = tower.learnt.remarks[name]
        if entry["on"]:
            layer = tower.learnt.layers[name]
            entry |= {"width": layer.width, "vocabulary_size": layer.size}
            if isinstance(feature, TimestampFeature):
                entry["training_range_us"] = list(layer.range_us)
        features.append(entry)
    return {"entity": tower.entity, "dim": tower.width, "inputs": describe_inputs(tower), "features": features}


def _vector_instructions() -> list[str]:
    """Those that TensorFlow chooses its kernels by: the same bits are promised on processors with the same ones."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return sorted(flag for flag in flags if flag.startswith("avx") or flag == "fma")
