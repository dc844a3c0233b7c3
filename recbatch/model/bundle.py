"""A bundle: ``query/``, ``candidate/`` and ``retriever/`` (SavedModels) and the manifest that vouches for every file.

``measured/`` holds the two towers that were measured, if they are others, and ``weights/`` arrays for a warm start.

A SavedModel is code that runs when it is loaded, so nothing is loaded that the manifest does not list with its sha256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbatch import storage
from recbatch.errors import InputError
from recbatch.run import fingerprint

MANIFEST = "manifest.json"
FORMAT = "recbatch-bundle/1"
TOWERS = ("query", "candidate")
EXPORTED_WEIGHTS, MEASURED_WEIGHTS = "weights/exported.npz", "weights/measured.npz"

Files = Mapping[str, Any]
"""Name -> its bytes and sha256, as a manifest lists them."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        uri: where it was read from.
        folder: a local folder with its files.
        manifest: its manifest (described in :mod:`recbatch.model.manifest`).
    """

    uri: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """Names its content, see :func:`content_name`."""
        return content_name(self.manifest)


def read_manifest(uri: str) -> dict[str, Any]:
    """The manifest of a bundle; its files are not looked at.

    Raises:
        InputError: there is none, or it is not one of ours.
    """
    return _parsed(uri, _manifest_bytes(uri))


def bundle_checksum(uri: str) -> str:
    """sha256 (hexadecimal) of a bundle's manifest, which holds those of all its files.

    Raises:
        InputError: there is no bundle.
    """
    return hashlib.sha256(_manifest_bytes(uri)).hexdigest()


def content_name(manifest: Mapping[str, Any]) -> str:
    """Names what a bundle computes: the training that made it and its weights; the same for a bundle made twice.

    Left out is what differs between two such: how long it took, and TensorFlow's graph files (``.pb``), which number
    functions as they come in a process.
    """
    weights = {name: entry["sha256"] for name, entry in manifest["files"].items() if not name.endswith(".pb")}
    return fingerprint([manifest["fingerprint"], manifest["towers"], weights])


def load_bundle(uri: str) -> Bundle:
    """Verify a bundle; one in an object store is first fetched into the user's cache folder.

    Raises:
        InputError: there is no bundle, a file is missing, is not listed in the manifest, or was changed.
    """
    data = _manifest_bytes(uri)
    manifest = _parsed(uri, data)
    if storage.is_remote(uri):
        return Bundle(uri, _fetched(uri, data, manifest["files"]), manifest)
    folder = Path(uri)
    _verify(uri, manifest["files"], file_list(folder))
    return Bundle(uri, folder, manifest)


def file_list(folder: Path) -> dict[str, dict[str, Any]]:
    """``{name: {bytes, sha256}}`` of every file below ``folder`` except a manifest at its top, sorted by name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in names
        if name != MANIFEST
    }


def _manifest_bytes(uri: str) -> bytes:
    try:
        return storage.read_bytes(storage.join(uri, MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{uri} is not a model bundle: it has no {MANIFEST}; name the folder that `recbatch train --model` wrote"
        ) from None


def _parsed(uri: str, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        files = manifest["files"].items()
        known = manifest["format"] == FORMAT and all(_is_plain(name) and "sha256" in entry for name, entry in files)
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise InputError(f"{uri}: {MANIFEST} is not the manifest of a model bundle of this version ({FORMAT})")
    return manifest


def _is_plain(name: str) -> bool:
    return not any(part in ("", ".", "..") for part in name.split("/"))


def _verify(uri: str, listed: Files, found: Files) -> None:
    complaints = {
        "is not listed in the manifest": sorted(found.keys() - listed.keys()),
        "is missing": sorted(listed.keys() - found.keys()),
        "was changed after the bundle was made": [
            name for name in found if name in listed and found[name] != listed[name]
        ],
    }
    for complaint, names in complaints.items():
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise _refused(uri, f"{names[0]} {complaint}{more}")


def _refused(uri: str, reason: str) -> InputError:
    return InputError(
        f"the model bundle {uri} is not what its manifest says: {reason}; it is not loaded. Train again, or copy the "
        f"bundle again from where it came"
    )


def _fetched(uri: str, data: bytes, listed: Files) -> Path:
    """A local copy that holds the manifest ``data`` and what it lists, verified; refused if the bundle holds more."""
    prefix = len(storage.join(uri, "x")) - 1
    there = {file.uri[prefix:] for file in storage.list_files(uri)} - {MANIFEST}
    _verify(uri, listed, {name: listed.get(name) for name in there})
    checksums = {name: f"sha256:{entry['sha256']}" for name, entry in listed.items()}
    checksums[MANIFEST] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    try:
        return storage.fetch_folder(uri, checksums)
    except storage.ContentError as error:
        raise _refused(uri, str(error)) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def switched_off(manifest: Mapping[str, Any]) -> list[str]:
    """The features of a bundle that do nothing, with the reason."""
    return [
        f"the {tower} tower's feature {feature['name']} is switched off: {feature['reason']}"
        for tower, description in manifest["towers"].items()
        for feature in description["features"]
        if not feature["on"]
    ]
