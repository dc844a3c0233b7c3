"""A bundle: ``query/``, ``candidate/`` and ``retriever/`` (SavedModels) and the manifest that vouches for every file.

A SavedModel is code that runs when it is loaded, so nothing is loaded that the manifest does not list with its sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from recbatch import storage
from recbatch.errors import InputError

MANIFEST = "manifest.json"
FORMAT = "recbatch-bundle/1"
TOWERS = ("query", "candidate")


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


def load_bundle(uri: str) -> Bundle:
    """Verify a bundle; one in an object store is first fetched into the user's cache folder.

    Raises:
        InputError: there is no bundle, a file is missing, is not listed in the manifest, or was changed.
    """
    data = _manifest_bytes(uri)
    manifest = _parsed(uri, data)
    folder = _fetched(uri, data, manifest) if storage.is_remote(uri) else Path(uri)
    _verify(uri, folder, manifest)
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
        known = manifest["format"] == FORMAT and all(_is_plain(name) for name in manifest["files"])
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError(f"{uri}: {MANIFEST} is not the manifest of a model bundle of this version ({FORMAT})")
    return manifest


def _is_plain(name: str) -> bool:
    return not any(part in ("", ".", "..") for part in name.split("/"))


def _verify(uri: str, folder: Path, manifest: dict[str, Any]) -> None:
    listed, found = manifest["files"], file_list(folder)
    complaints = {
        "is not listed in the manifest": sorted(found.keys() - listed.keys()),
        "is missing": sorted(listed.keys() - found.keys()),
        "was changed after the bundle was made": [
            name for name in found if name in listed and found[name] != listed[name]
        ],
    }
    for complaint, names in complaints.items():
        if names:
            raise InputError(
                f"the model bundle {uri} is not what its manifest says: {names[0]} {complaint}"
                + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
                + "; it is not loaded. Train again, or copy the bundle again from where it came"
            )


def _fetched(uri: str, data: bytes, manifest: dict[str, Any]) -> Path:
    """A local copy, named by the manifest's checksum; made aside and renamed, so it is whole whenever it is there."""
    cache = platformdirs.user_cache_path("recbatch") / "bundles"
    folder = cache / hashlib.sha256(data).hexdigest()
    if folder.exists():
        return folder
    staged = cache / f".temporary-{uuid.uuid4().hex}"
    try:
        prefix = len(storage.join(uri, "x")) - 1
        for file in storage.list_files(uri):
            name = file.uri[prefix:]
            if name != MANIFEST and name not in manifest["files"]:
                raise InputError(
                    f"the model bundle {uri} holds {name}, which its manifest does not list; it is not loaded"
                )
            target = staged / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(storage.read_bytes(file.uri))
        staged.mkdir(parents=True, exist_ok=True)
        _verify(uri, staged, manifest)
        try:
            os.rename(staged, folder)
        except OSError:
            if not folder.exists():  # otherwise another process fetched the very same bundle first
                raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
