"""Topology files of test instances as users write them (docs/instance.md): TOML, one function a table."""

from __future__ import annotations

import json
from typing import Any

# The caller of nearly every test.
APP = "GOV/1234/app"


def right(**keys: str) -> dict[str, str]:
    """To whom, and to which endpoint; the caller of nearly every test unless another is named."""
    return keys if {"subsystem", "group", "local_group"} & keys.keys() else {"subsystem": APP} | keys


def service(code: str, url: str, kind: str = "REST", **keys: Any) -> str:
    rights = {"rights": [right()]}
    return _table("[[members.subsystems.services]]", {"code": code, "type": kind, "url": url} | rights | keys)


def subsystem(code: str, gateway: str, *services: str, **keys: Any) -> str:
    return _table("[[members.subsystems]]", {"code": code, "gateways": [gateway]} | keys) + "".join(services)


def member(member_class: str, code: str, *subsystems: str) -> str:
    return _table("[[members]]", {"class": member_class, "code": code}) + "".join(subsystems)


def topology(gateways: dict[str, dict[str, Any]], *members: str, **keys: Any) -> str:
    """The file: gateways by name, members as `member` writes them, and what else stands at its top."""
    tables = "".join(_table(f"[gateways.{name}]", of_gateway) for name, of_gateway in gateways.items())
    return _table("", {"instance": "DE-TEST"} | keys) + tables + "".join(members)


def one_member(*services: str) -> str:
    """The smallest instance in which something can be called: a gateway, a member, and what calls itself."""
    return topology({"ss1": {"owner": "GOV/1234"}}, member("GOV", "1234", subsystem("app", "ss1", *services)))


def _table(heading: str, keys: dict[str, Any]) -> str:
    return "\n".join([heading, *(f"{key} = {_value(value)}" for key, value in keys.items())]) + "\n"


def _value(value: object) -> str:
    match value:
        case dict():
            return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case _:
            # Strings, numbers and booleans of JSON are TOML's.
            return json.dumps(value, ensure_ascii=False)
