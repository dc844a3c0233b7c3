"""A configuration written down again: as YAML for people, as canonical JSON for fingerprints."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from recbatch.config.models import Config
from recbatch.config.sections import Section
from recbatch.run import canonical_json


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML: every key with its value, defaults too. It can be loaded again."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 1 << 16
    yaml.representer.add_representer(str, _represent_text)  # last: the representer takes the options as they are now
    text = io.StringIO()
    yaml.dump(config.model_dump(mode="json"), text)
    return text.getvalue()


def _represent_text(representer: Any, text: str) -> Any:
    """Text with line breaks of any alphabet or control characters in double quotes, as escapes."""
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


def canonical(section: Section) -> bytes:
    """The configuration, or a section of it, as JSON with sorted keys: equal configurations give equal bytes."""
    return canonical_json(section.model_dump(mode="json"))
