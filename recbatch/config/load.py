"""From a YAML file and ``--set`` options to a :class:`Config`; every mistake in them becomes one sentence."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import ValidationError

from recbatch import storage
from recbatch.config.checks import check_output, contradictions
from recbatch.config.document import Document, parse
from recbatch.config.dump import canonical, dump_config
from recbatch.config.explain import explain, show
from recbatch.config.keys import key_of
from recbatch.config.models import Config
from recbatch.config.overrides import override
from recbatch.errors import ConfigError

__all__ = [
    "LoadedConfig",
    "canonical",
    "check_output",
    "dump_config",
    "load_config",
    "read_config",
    "read_text",
    "resolve",
]


@dataclass(frozen=True)
class LoadedConfig:
    """A configuration and where its keys were written."""

    config: Config
    document: Document

    def located(self, error: ConfigError) -> ConfigError:
        """``error`` with the place of its key (``file:line:column`` or ``--set ...``) in front of the message."""
        if error.key is None:
            return error
        return ConfigError(f"{self.document.place(key_of(error.key))}: {error}", error.key)

    def check_output(self, output: str) -> None:
        """:func:`recbatch.config.checks.check_output`, with places."""
        try:
            check_output(self.config, output)
        except ConfigError as error:
            raise self.located(error) from None


def load_config(uri: str, overrides: Sequence[str] = (), *, output: str | None = None) -> Config:
    """Read and check a configuration.

    Args:
        uri: a YAML file, local or ``gs://``.
        overrides: ``a.b=value`` each, as given to ``--set``.
        output: where the night is to be written, if it is known: it must lie apart from the inputs.

    Raises:
        ConfigError: with everything that is wrong, one line each: place, key, value, what is allowed, what was meant.
    """
    loaded = read_config(uri, overrides)
    if output is not None:
        loaded.check_output(output)
    return loaded.config


def read_config(uri: str, overrides: Sequence[str] = ()) -> LoadedConfig:
    """:func:`load_config` for those who want to name places in errors of their own (:meth:`LoadedConfig.located`)."""
    return resolve(parse(read_text(uri), uri), overrides)


def resolve(document: Document, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Check what was read.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    if document.values is None and not overrides:
        raise ConfigError(
            f"{document.name}: the file is empty; a configuration needs at least inputs.interactions.path "
            f"(`recbatch init INTERACTIONS` prints one to start from)"
        )
    if document.values is not None and not isinstance(document.values, dict):
        raise ConfigError(
            f"{document.place(())}: a configuration is a mapping of sections ({', '.join(Config.model_fields)}), "
            f"not {show(document.values)}"
        )
    document = override(document, overrides)
    try:
        loaded = LoadedConfig(Config.model_validate(document.values), document)
    except ValidationError as error:
        raise _all([f"{document.place(f.key)}: {f.text}" for f in explain(error, document)]) from None
    wrong = list(contradictions(loaded.config))
    if wrong:
        raise _all([str(loaded.located(error)) for error in wrong])
    return loaded


def read_text(uri: str) -> str:
    """The text of a YAML file, local or ``gs://``.

    Raises:
        ConfigError: there is none, or it is not UTF-8.
    """
    if not storage.is_remote(uri) and os.path.isdir(uri):
        raise ConfigError(
            f"{uri}: this is a folder; name the YAML file{_nearest_file(os.path.join(uri, 'config.yaml'))}"
        )
    try:
        data = storage.read_bytes(uri)
    except FileNotFoundError:
        raise ConfigError(f"{uri}: there is no such file{_nearest_file(uri)}") from None
    except OSError as error:
        raise ConfigError(f"{uri}: cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{uri}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; a configuration is YAML text, save it as UTF-8"
        ) from None


def _nearest_file(uri: str) -> str:
    """The YAML file beside a missing one that was probably meant."""
    if storage.is_remote(uri):
        return ""
    folder, name = os.path.split(uri)
    beside = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    found = get_close_matches(name, [other for other in beside if other.endswith((".yaml", ".yml"))], n=1)
    return f"; did you mean {os.path.join(folder, found[0])}?" if found else ""


def _all(sentences: list[str]) -> ConfigError:
    if len(sentences) == 1:
        return ConfigError(sentences[0])
    return ConfigError("\n  ".join([f"{len(sentences)} mistakes in the configuration:", *sentences]))
