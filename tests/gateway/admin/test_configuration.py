"""`datenweg configuration …` and `datenweg registry rotate-key`, as an operator types them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from typer.testing import CliRunner, Result

from gateway.admin.configuration_values import compare
from gateway.cli import app
from gateway.clock import SystemClock
from gateway.registry import membership
from gateway.registry.app import PUBLISHER, build_app
from gateway.registry.node import Registry
from gateway.settings import RegistrySettings
from tests.trust.configurations import BILLS, CITY, NOW, anchor, key, key_pair, parameters, signed
from trust.configuration_store import ConfigurationStore
from trust.globalconf import build_anchor, build_shared_parameters, verify_configuration
from trust.identifiers import MemberId
from trust.parameters import SharedParameters


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two configurations' shared parameters."""
    old, new = tmp_path / "old.xml", tmp_path / "new.xml"
    old.write_bytes(build_shared_parameters(parameters()))
    new.write_bytes(build_shared_parameters(changed()))
    return old, new


def changed() -> SharedParameters:
    other = membership.add_member(parameters(), MemberId("DE-TEST", "COM", "SPARKASSE"), "Sparkasse")
    city, utility = other.security_servers
    return replace(
        membership.remove_subsystem(other, BILLS),
        security_servers=(replace(city, address="gateway.musterstadt.test"), replace(utility, clients=frozenset())),
    )


def test_two_configurations_are_compared(files: tuple[Path, Path]) -> None:
    assert run("configuration", "diff", files[0], files[0]).output == "no difference\n"
    lines = run("configuration", "diff", *files, code=1).output.splitlines()
    assert "+ MEMBER:DE-TEST/COM/SPARKASSE" in lines
    assert "- SUBSYSTEM:DE-TEST/COM/STADTWERKE/rechnungen" in lines
    assert "~ SERVER:DE-TEST/GOV/MUSTERSTADT/gateway1: address: 127.0.0.1:5500 -> gateway.musterstadt.test" in lines
    document = json.loads(run("configuration", "diff", *files, "--json", code=1).output)
    assert document["added"] == ["MEMBER:DE-TEST/COM/SPARKASSE"]
    difference = compare(changed(), parameters())
    assert list(difference.removed) == document["added"]
    assert compare(parameters(), parameters()).is_empty


def test_a_file_is_shown_as_it_stands(files: tuple[Path, Path]) -> None:
    output = run("configuration", "show", files[0]).output
    assert "verified: no" in output
    assert "Prüfstelle" in output
    document = json.loads(run("configuration", "show", files[0], "--json").output)
    assert document["contents"][str(CITY)] == {"name": "Stadt Musterstadt"}
    assert document["verified"].startswith("no")


def test_an_anchors_hash_is_printed_as_people_compare_it(tmp_path: Path) -> None:
    file = tmp_path / "anchor.xml"
    file.write_bytes(build_anchor(anchor()))
    output = run("configuration", "anchor", file).output
    shown = re.search(r"^hash: ((?:[0-9A-F]{2}:){27}[0-9A-F]{2})$", output, re.MULTILINE)
    assert shown is not None
    assert shown[1].replace(":", "").lower() == hashlib.sha224(file.read_bytes()).hexdigest()
    assert json.loads(run("configuration", "anchor", file, "--json").output)["hash"] == shown[1]


def test_a_folder_is_verified(tmp_path: Path) -> None:
    folder, file = tmp_path / "configuration", tmp_path / "anchor.xml"
    file.write_bytes(build_anchor(anchor()))
    empty = run("configuration", "verify", tmp_path, "--anchor", file, code=1)
    assert "INVALID global_conf_missing_signed_data" in empty.output
    accepted = signed()
    configuration = verify_configuration(accepted.directory, accepted.files, anchor=anchor(), at=NOW, previous=None)
    ConfigurationStore(folder, anchor()).save(configuration, accepted.files, None)
    shown = json.loads(run("configuration", "show", folder, "--anchor", file, "--json").output)
    assert shown["verified"] == "yes"
    assert run("configuration", "show", folder).output.startswith("instance: DE-TEST\nverified: no")
    # It is of a moment in the tests' time, and a year of the world's later or earlier than that: current or expired.
    current = SystemClock().now() < configuration.expires
    verdict = run("configuration", "verify", folder, "--anchor", file, "--json", code=0 if current else 1)
    assert current or json.loads(verdict.output)["code"] == "global_conf_outdated"
    (folder / "DE-TEST" / "shared-params.xml").write_bytes(b"<x/>")
    altered = run("configuration", "verify", folder, "--anchor", file, code=1)
    assert "global_conf_part_downloaded_file_integrity_failure" in altered.output
    file.write_bytes(build_anchor(anchor(key_pair())))
    assert "INVALID" in run("configuration", "verify", folder, "--anchor", file, code=1).output


@pytest.mark.parametrize("source", ["none.xml", "http://127.0.0.1:1/internalconf"])
def test_what_cannot_be_read_is_said(tmp_path: Path, source: str) -> None:
    path = source if source.startswith("http") else str(tmp_path / source)
    result = CliRunner().invoke(app, ["configuration", "show", path])
    assert result.exit_code != 0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RegistrySettings]:
    """A registry in a thread of its own: the commands run their own event loop."""
    settings = RegistrySettings(instance="DE-TEST", data_directory=tmp_path / "registry", port=unused_port())
    application = build_app(settings)
    loop, started = asyncio.new_event_loop(), threading.Event()
    runner = web.AppRunner(application)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", settings.port).start()
        started.set()

    def work() -> None:
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(20)
    assert application[PUBLISHER].latest is not None
    try:
        yield settings
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def test_a_source_is_verified_and_its_key_changed(served: RegistrySettings, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{served.port}/internalconf"
    anchor_file = served.data_directory / "configuration-anchor.xml"
    output = run("configuration", "verify", url, "--anchor", anchor_file).output
    assert output.startswith("valid\n")
    assert "version: 6" in output
    assert run("configuration", "diff", url, url, "--anchor", anchor_file).output == "no difference\n"
    other = tmp_path / "other.xml"
    other.write_bytes(build_anchor(replace(anchor(key(), url=url))))
    refused = run("configuration", "verify", url, "--anchor", other, code=1).output
    assert "INVALID global_conf_missing_verification_cert" in refused
    toml = tmp_path / "registry.toml"
    toml.write_text(
        f'instance = "DE-TEST"\ndata_directory = "{served.data_directory}"\nport = {served.port}\n', "utf-8"
    )
    before = Registry(served, SystemClock()).key.certificate_der
    assert "announced" in run("registry", "rotate-key", "--config", toml).output
    early = CliRunner().invoke(app, ["registry", "rotate-key", "--config", str(toml), "--activate"])
    assert early.exit_code != 0
    assert "too new" in str(early.exception)
    assert "signs from" in run("registry", "rotate-key", "--config", toml, "--activate", "--at-once").output
    assert Registry(served, SystemClock()).key.certificate_der != before
