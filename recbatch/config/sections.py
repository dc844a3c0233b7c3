"""What every part of the configuration has in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error.

    Values have to be of the declared type (``"10"`` is text, not a number). The string under a field is its description
    in ``docs/configuration.md``. The message of a validator's ``ValueError`` may begin with the key that it is about,
    relative to its section, and a colon (``candidate.features.2: ...``): the error then points at that key's place.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        str_min_length=1,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_section_has_its_defaults(cls, value: Any) -> Any:
        """``positives:`` with every line below it commented out is null in YAML."""
        return {} if value is None else value
