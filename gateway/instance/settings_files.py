"""Settings as files that `from_file` reads: for nodes that run as processes, and for commands beside running ones."""

from __future__ import annotations

import json

from gateway.settings import Settings


def to_toml(settings: Settings) -> str:
    """The settings as a file that `from_file` reads back; values that are None are left out."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return "".join(f"{name} = {toml_literal(value)}\n" for name, value in values.items())


def toml_literal(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml_literal(inner)}" for name, inner in value.items()) + "}"
    # A JSON string, number, boolean or list of strings is a TOML one, but for DEL and surrogates, which no setting
    # holds.
    return json.dumps(value, ensure_ascii=False)
