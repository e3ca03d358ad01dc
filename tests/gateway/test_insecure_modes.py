"""What gives up a protection is named so, and is shouted at every start, whatever the log level, by every process."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from gateway import app as gateway_app
from gateway import serve
from gateway.cli import app
from gateway.exchange.directory import build_directory
from gateway.exchange.insecure import insecure_parts
from gateway.instance.settings_files import to_toml
from gateway.logging import configure_logging
from gateway.settings import ALL_SETTINGS, AdapterSettings, GatewaySettings, RegistrySettings, Settings
from gateway.store.model import Client, ConnectionType, NodeConfiguration, Revision
from tests.gateway.exchange.town import APP, CITY, UTILITY, service_at

# Settings that choose between a few values, and why none of the values gives up a protection: a new one is looked at
# here before it can be merged. What does give one up is named `insecure_…`, or stands in `weakened_at` of its class.
HARMLESS: Final = {
    "log_level": "what is shouted is an error at every level",
    "error_vocabulary": "a spelling",
    "message_stamping": "when, not whether",
    "message_body_logging": "what is kept of a message; its digest is logged all the same",
    "truncated_body_allowed": "what is kept of a large message; its digest is logged all the same",
    "body_digest_allowed": "likewise",
    "message_archiving": "without it nothing is archived, and nothing is deleted before its time",
    "message_archive_grouping": "whose messages share an archive",
    "timestamp_cost_strategy": "which of the approved authorities",
    "ocsp_cost_strategy": "which of an authority's responders is asked first",
    "peer_tls_minimum": "both are held secure; the default is what X-Road's servers speak",
    "citizen_require_bound_tokens": "stricter than the standard",
    "citizen_require_dpop_nonce": "stricter than the standard",
    "token_acr_levels": "what the issuer's words mean; an unknown one is refused",
    "kind": "which institution",
    "certificate_profile": "how a test authority's certificates name members",
}


def chosen(kind: type[Settings]) -> set[str]:
    """The settings of a class that switch something: truth values, choices from a list, numbers that may be 0."""
    schema = kind.model_json_schema()
    found = set()
    for name, described in schema["properties"].items():
        text = json.dumps(described)
        # A port may be 0, too: a free one.
        off = described.get("minimum") == 0 and described.get("maximum") != 65535
        if off or '"boolean"' in text or '"enum"' in text or '"const"' in text or "$ref" in text:
            found.add(name)
    return found


@pytest.mark.parametrize("kind", ALL_SETTINGS, ids=lambda kind: kind.__name__)
def test_every_switch_is_named_insecure_or_is_no_weakness(kind: type[Settings]) -> None:
    assert set(kind.weakened_at) <= set(kind.model_fields)
    unknown = {name for name in chosen(kind) if not name.startswith("insecure_")}
    assert unknown - set(kind.weakened_at) - set(HARMLESS) == set(), (
        "name it insecure_…, put it into weakened_at, or say here why no value of it gives up a protection"
    )


def test_what_is_held_harmless_is_there() -> None:
    assert set(HARMLESS) <= set().union(*(chosen(kind) for kind in ALL_SETTINGS))


@pytest.mark.parametrize("kind", ALL_SETTINGS, ids=lambda kind: kind.__name__)
def test_nothing_insecure_is_a_default(kind: type[Settings]) -> None:
    for name, field in kind.model_fields.items():
        if name.startswith("insecure_"):
            assert not field.get_default(), name
        if name in kind.weakened_at:
            assert field.get_default() != kind.weakened_at[name], name


def weak(kind: type[Settings]) -> list[tuple[str, object]]:
    """Each insecure setting of a class with its insecure value."""
    named = [
        (name, True if field.annotation is bool else ["DE-TEST/GOV/X/s"])
        for name, field in kind.model_fields.items()
        if name.startswith("insecure_")
    ]
    return [*named, *kind.weakened_at.items()]


def mode_of(name: str, value: object) -> str:
    return name if name.startswith("insecure_") else f"{name} = {json.dumps(value)}"


def shouted(text: str) -> list[tuple[str, str | None]]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [(line["mode"], line.get("service")) for line in lines if line["event"] == "INSECURE MODE"]


@pytest.mark.usefixtures("own_logging")
def settings_of(kind: type[Settings], folder: Path, **changes: object) -> Settings:
    values: dict[str, Any] = {"instance": "DE-TEST", "data_directory": folder / "data", "log_level": "error"}
    if kind is GatewaySettings:
        values |= {"owner": CITY.member.encoded, "server_code": "ss1", "anchor_file": folder / "anchor.xml"}
    if kind is AdapterSettings:
        del values["instance"]
        values |= {"kind": "ozg", "backend_url": "http://127.0.0.1:9/"}
    return kind(**values | changes)


async def test_a_gateway_shouts_each_mode_and_each_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offered = (
        service_at("plain", "http://adapter.example/"),
        service_at("unverified", "https://adapter.example/", verify_tls=False),
        service_at("sound", "http://127.0.0.1:1/"),
    )
    clients = (Client(APP, ConnectionType.HTTPS_NO_AUTH), Client(UTILITY.subsystem))
    directory = build_directory(NodeConfiguration(Revision(1, 0), clients, offered, ()))

    @contextlib.asynccontextmanager
    async def serving(_: GatewaySettings) -> AsyncIterator[Any]:
        yield SimpleNamespace(node=SimpleNamespace(directory=directory))

    async def at_once() -> None:
        return None

    monkeypatch.setattr(gateway_app, "serving", serving)
    monkeypatch.setattr(gateway_app, "wait_for_signal", at_once)
    monkeypatch.setattr(gateway_app, "_tune_interpreter", lambda: None)
    settings = settings_of(GatewaySettings, tmp_path)
    assert isinstance(settings, GatewaySettings)
    configure_logging("error")
    parts = [(part.mode, part.identifier) for part in insecure_parts(directory)]
    assert len(parts) == 3
    await gateway_app.run_gateway(settings)
    assert shouted(capsys.readouterr().err) == parts
    for name, value in weak(GatewaySettings):
        await gateway_app.run_gateway(settings.model_copy(update={name: value}))
        assert shouted(capsys.readouterr().err) == [(mode_of(name, value), None), *parts], name
    every = settings.model_copy(update=dict(weak(GatewaySettings)))
    await gateway_app.run_gateway(every)
    assert len(shouted(capsys.readouterr().err)) == len(weak(GatewaySettings)) + len(parts)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(("kind", "command"), [(RegistrySettings, "registry"), (AdapterSettings, "adapter")])
def test_registry_and_adapter_shout_each_mode(
    kind: type[Settings], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    monkeypatch.setattr(serve, "run_app", lambda *_, **__: served.append(command))
    config = tmp_path / f"{command}.toml"

    def started(**changes: object) -> list[tuple[str, str | None]]:
        config.write_text(to_toml(settings_of(kind, tmp_path, **changes)), "utf-8")
        done = CliRunner().invoke(app, [command, "--config", str(config)])
        assert done.exit_code == 0, done.output
        return shouted(done.stderr)

    assert started() == []
    modes = weak(kind)
    assert modes
    for name, value in modes:
        assert started(**{name: value}) == [(mode_of(name, value), None)], name
    assert len(served) == len(modes) + 1
