"""docs/configuration.md says what the models say; its examples and the ready configs load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recbatch.config.document import parse
from recbatch.config.keys import all_keys, below, dotted, is_section
from recbatch.config.load import load_config, resolve
from recbatch.config.models import Config
from recbatch.config.reference import with_reference
from recbatch.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"


def test_the_reference_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_reference(page) == page, "run: .venv/bin/python -m recbatch.config.reference docs/configuration.md"


def test_every_key_has_a_description() -> None:
    for key in all_keys():
        section = Config
        for part in key[:-1]:
            inner = below(section, part)
            section = inner if is_section(inner) else next(a for a in inner.__args__ if is_section(a))
        field = section.model_fields[str(key[-1])]
        about = field.description or (is_section(field.annotation) and field.annotation.__doc__)
        assert about, f"{dotted(key)} needs a string under it that says what it means"


def test_the_example_loads() -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    config = resolve(parse(example[1], "example.yaml")).config
    assert config.positives.event_types == ["purchase", "add_to_cart"]
    assert list(config.tables.enabled()) == ["user2item", "item2item", "item2user"]


def test_the_errors_shown_are_real(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    wrong = example[1].replace("{k: 50}", "{k: 0}").replace("user2user:", "user2usr:")
    file = tmp_path / "my.yaml"
    file.write_text(wrong)
    with pytest.raises(ConfigError) as error:
        load_config(str(file))
    told = str(error.value).replace(f"{tmp_path}/", "").splitlines()[1:]
    shown = re.findall(r"^      (my\.yaml:\d.*)$", page, re.MULTILINE)
    assert len(shown) == len(told) == 2
    for line, real in zip(shown, told, strict=True):
        assert real.strip().startswith(line.removesuffix("..."))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_ready_configs_load(path: Path) -> None:
    assert load_config(str(path)).tables.enabled()
