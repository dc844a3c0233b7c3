"""Model bundles that a command names: looked at before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from recbatch import storage
from recbatch.config.models import Model
from recbatch.errors import InputError
from recbatch.model.bundle import EXPORTED_WEIGHTS, bundle_checksum, content_name, read_manifest
from recbatch.night import BundleRef


@dataclass(frozen=True)
class GivenBundle:
    """What a bundle's manifest says of it.

    Attributes:
        reference: where it is and what its towers embed.
        model: the towers as they were trained.
        checksum: of the manifest, which holds those of all files.
        name: names what it computes; unlike the checksum it is the same for a bundle that was made twice.
        fingerprint: name of the training that made it.
        last_event_us: time of the newest event it was trained on; None if it does not say.
        has_weights: whether a fit can begin with it.
    """

    reference: BundleRef
    model: Model
    checksum: str
    name: str
    fingerprint: str
    last_event_us: int | None
    has_weights: bool


def look_at(uri: str, key: str) -> GivenBundle:
    """Read the manifest of a bundle; its files are verified when it is loaded.

    Args:
        uri: its folder.
        key: option or config key that names it, for messages.

    Raises:
        InputError: there is no bundle of this version.
    """
    uri = storage.absolute(uri)
    try:
        manifest = read_manifest(uri)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
    if manifest.get("given"):
        raise InputError(f"{key}: {uri} only describes vectors that were given for a night; it has no towers")
    towers = manifest["towers"]
    checksum = bundle_checksum(uri)
    return GivenBundle(
        reference=BundleRef(uri, towers["query"]["entity"], towers["candidate"]["entity"], checksum),
        model=Model.model_validate(manifest["model"]),
        checksum=checksum,
        name=content_name(manifest),
        fingerprint=manifest["fingerprint"],
        last_event_us=manifest["last_event_us"],
        has_weights=EXPORTED_WEIGHTS in manifest["files"],
    )
