"""The file's errors: each names the key and what is allowed; what is read can be planned."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.city.plan import FILE as CITY_FILE
from gateway.instance.plan import build_plan
from gateway.instance.ports import FreePorts
from gateway.instance.reading import InvalidTopology, read_topology, schema
from tests.gateway.instance.road import ROOT, command
from tests.gateway.instance.topologies import one_member, service

GOOD = one_member(service("auskunft", "http://127.0.0.1:9000"))
_KEYS = ("instance", "gateways", "members", "subsystems", "services", "class", "code", "owner", "global_groups", "ss1")
SERVICE = "members[0].subsystems[0].services[0]"


def read(tmp_path: Path, text: str, name: str = "road.toml") -> Any:
    (tmp_path / name).write_text(text, "utf-8")
    return read_topology(tmp_path / name)


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    as_json = json.dumps(tomllib.loads(GOOD))
    assert read(tmp_path, GOOD).topology == read(tmp_path, as_json, "road.json").topology


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    mark = "\ufeff"
    as_json = json.dumps(tomllib.loads(GOOD))
    assert read(tmp_path, mark + GOOD).topology == read(tmp_path, mark + as_json, "road.json").topology


def test_a_key_that_stands_twice_is_refused_in_json_as_in_toml(tmp_path: Path) -> None:
    twice = json.dumps(tomllib.loads(GOOD)).replace('"instance"', '"instance": "A-TEST", "instance"', 1)
    with pytest.raises(InvalidTopology, match=r"road\.json: not a JSON file: the key 'instance' stands there twice"):
        read(tmp_path, twice, "road.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed('"DE-TEST"', '"DE"'), "instance: a test instance's name ends in -TEST"),
        (changed('instance = "DE-TEST"', ""), "instance: is missing"),
        (changed('owner = "GOV/1234"', 'owner = "GOV/9"'), "gateways.ss1.owner: there is no member GOV/9"),
        (changed('owner = "GOV/1234"', 'owner = "GOV"'), "gateways.ss1.owner: 'GOV' is not CLASS/MEMBER"),
        (changed('owner = "GOV/1234"', 'owner = "GOV/%zz"'), "malformed percent-encoding"),
        (changed("[gateways.ss1]", "[gateways.registry]"), "gateways.registry: a name has letters"),
        (changed("[gateways.ss1]", '[gateways."../x"]'), "gateways.../x: a name has letters"),
        (changed('owner = "GOV/1234"', 'owner = "GOV/1234"\nhost = "192.0.2.1"'), "gateways.ss1.host: an instance"),
        (
            changed('owner = "GOV/1234"', 'owner = "GOV/1234"\nports = { client_http = 0 }'),
            "gateways.ss1.ports.client_http: Input should be greater than or equal to 1",
        ),
        (
            changed('owner = "GOV/1234"', 'owner = "GOV/1234"\nports = { message = 9000, ocsp = 9002 }'),
            "gateways.ss1.ports: ocsp is message + 1",
        ),
        (
            changed('owner = "GOV/1234"', 'owner = "GOV/1234"\nports = { message = 9000, client_http = 9001 }'),
            "gateways.ss1.ports.ocsp: 9001 is gateways.ss1.ports.client_http already",
        ),
        (changed('code = "app"', 'code = "app"\nconection_type = "HTTP"'), "subsystems[0].conection_type: there is no"),
        (changed('code = "app"', 'code = "app"\nconnection_type = "TLS"'), "connection_type: Input should be 'HTTP'"),
        (changed('code = "app"', 'code = "a\\tb"'), "members[0].subsystems[0].code: character not allowed"),
        (changed('class = "GOV"', 'class = "G/V"'), "members[0].class: no slash here"),
        (changed('class = "GOV"', f'class = "{"x" * 60}"'), "there is no member GOV/1234"),
        (changed('gateways = ["ss1"]', 'gateways = ["ss2"]'), "there is no gateway 'ss2'; there are ss1"),
        (changed('gateways = ["ss1"]', ""), "subsystems[0].gateways: a subsystem with services"),
        (changed('"http://127.0.0.1:9000"', '"ftp://127.0.0.1"'), f"{SERVICE}.url: http(s)://HOST"),
        (changed('"http://127.0.0.1:9000"', '"http://127.0.0.1/a b"'), f"{SERVICE}.url: http(s)://HOST"),
        (changed('"http://127.0.0.1:9000"', '"http://127.0.0.1/a\\nb"'), f"{SERVICE}.url: http(s)://HOST"),
        (changed('code = "auskunft"', 'code = "listMethods"'), f"{SERVICE}.code: this service code is answered by"),
        (changed('code = "auskunft"', 'code = "auskunft"\nversion = "v1"'), f"{SERVICE}: a REST service has no"),
        (changed('type = "REST"', 'type = "WSDL"'), f"{SERVICE}: WSDL needs a description"),
        (changed('type = "REST"', 'type = "REST"\ndescription = "x"'), f"{SERVICE}: REST has no description"),
        (changed('type = "REST"', 'type = "rest"'), f"{SERVICE}.type: Input should be 'REST', 'OPENAPI3'"),
        (changed('type = "REST"', 'type = "REST"\ntimeout_seconds = 0'), f"{SERVICE}.timeout_seconds: Input should"),
        (changed('{ subsystem = "GOV/1234/app" }', "{}"), f"{SERVICE}.rights[0]: exactly one of subsystem, group"),
        (
            changed('{ subsystem = "GOV/1234/app" }', '{ subsystem = "GOV/1234/app", group = "x" }'),
            f"{SERVICE}.rights[0]: exactly one of",
        ),
        (changed('"GOV/1234/app" }', '"GOV/1234/xyz" }'), f"{SERVICE}.rights[0].subsystem: there is no GOV/1234/xyz"),
        (changed('{ subsystem = "GOV/1234/app" }', '{ group = "x" }'), "rights[0].group: there is no global group 'x'"),
        (changed('{ subsystem = "GOV/1234/app" }', '{ local_group = "x" }'), "rights[0].local_group: the subsystem"),
        (GOOD + '[[members]]\nclass = "GOV"\ncode = "1234"\n', "members: GOV/1234 stands there 2 times"),
        (GOOD + '[[global_groups]]\ncode = "g"\nmembers = ["GOV/1"]\n', "global_groups[0].members: there is no GOV/1"),
        ('monitoring_client = "GOV/1"' + GOOD, "monitoring_client: there is no GOV/1"),
        (GOOD + "unknown = 1\n", f"{SERVICE}.unknown: there is no such key"),
        ("instance = ", "not a TOML file"),
    ],
)
def test_an_error_names_the_key_and_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidTopology) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    # Nothing is said of what is right.
    assert "Tuple" not in str(refused.value)


def test_all_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('{ subsystem = "GOV/1234/app" }', '{ group = "x" }, { subsystem = "A/B/C" }')
    with pytest.raises(InvalidTopology) as refused:
        read(tmp_path, text)
    assert "global group 'x'" in str(refused.value)
    assert "A/B/C" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed('code = "app"', 'code = "app"\ncertificates = ["fehlt.pem"]'), "fehlt.pem: No such file"),
        (changed('code = "app"', 'code = "app"\ncertificates = ["road.toml"]'), "holds no certificate in PEM"),
        (
            changed('code = "app"', 'code = "app"\ncertificates = ["-----BEGIN CERTIFICATE-----"]'),
            "an inline text holds no certificate",
        ),
        (changed('type = "REST"', 'type = "WSDL"\ndescription = "fehlt.wsdl"'), "fehlt.wsdl: No such file"),
    ],
)
def test_files_that_are_named_are_read_before_anything_starts(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidTopology) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    assert "members[0].subsystems[0]" in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{ max_body_byte = 1 }", "gateways.ss1.settings.max_body_byte: no setting of this process"),
        ("{ client_port = 1 }", "gateways.ss1.settings: client_port follow from"),
        ('{ max_body_bytes = "viel" }', "gateways.ss1.settings.max_body_bytes: Input should be a valid integer"),
    ],
)
def test_settings_of_a_gateway_are_checked(tmp_path: Path, settings: str, said: str) -> None:
    file = read(tmp_path, changed('owner = "GOV/1234"', f'owner = "GOV/1234"\nsettings = {settings}'))
    with pytest.raises(InvalidTopology) as refused:
        build_plan(file, tmp_path, None)
    assert said in str(refused.value)
    # The file is named, and no setting that is right.
    assert str(refused.value).startswith(f"{file.path}: ")
    assert "database_url" not in str(refused.value)


def test_codes_with_any_characters(tmp_path: Path) -> None:
    text = GOOD.replace('class = "GOV"', 'class = "GÖV & Co"').replace('code = "app"', 'code = "Bürger/amt: 1%"')
    text = text.replace("GOV/1234/app", "G%C3%96V%20%26%20Co/1234/B%C3%BCrger%2Famt%3A%201%25")
    text = text.replace('owner = "GOV/1234"', 'owner = "G%C3%96V%20%26%20Co/1234"')
    topology = read(tmp_path, text).topology
    ((identifier, _),) = topology.subsystems
    assert identifier.segments == ("DE-TEST", "GÖV & Co", "1234", "Bürger/amt: 1%")


def test_ports_count_from_a_base_port_or_are_free(tmp_path: Path) -> None:
    file = read(tmp_path, changed('owner = "GOV/1234"', 'owner = "GOV/1234"\nports = { operations = 9999 }'))
    counted = build_plan(file, tmp_path, 20_000)
    ports = counted.ports["ss1"]
    assert (counted.registry_port, counted.testca_port) == (20_000, 20_001)
    assert (ports.client_http, ports.message, ports.ocsp, ports.client_https) == (20_010, 20_011, 20_012, 20_017)
    assert ports.operations == 9999
    free = build_plan(file, tmp_path, None).ports["ss1"]
    assert free.ocsp == free.message + 1
    assert len({free.client_http, free.client_https, free.message, free.ocsp, free.operations}) == 5


def test_x_roads_own_ports_need_no_port_in_the_address(tmp_path: Path) -> None:
    text = changed(
        'owner = "GOV/1234"', 'owner = "GOV/1234"\nhost = "127.0.0.7"\nports = { message = 5500, ocsp = 5577 }'
    )
    ports = build_plan(read(tmp_path, text), tmp_path, None).ports["ss1"]
    assert ports.address == "127.0.0.7"


def test_a_taken_port_is_not_given_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        rows = FreePorts(frozenset(range(10_240, 10_300)))
        for _ in range(50):
            first = rows.row("127.0.0.1", 2)
            assert first not in {port, port - 1}
            assert first > 10_299 or first + 1 < 10_240


def test_the_schema_describes_the_files() -> None:
    document = json.loads(schema())
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(document)
    validator.validate(tomllib.loads(GOOD))
    validator.validate(tomllib.loads((ROOT / "gateway/city/musterstadt.toml").read_text("utf-8")))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(tomllib.loads(GOOD + "unknown = 1\n"))
    assert CITY_FILE.topology.instance == "DE-TEST"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=5), inner),
    max_leaves=12,
)


@given(_JSON)
def test_any_file_is_a_topology_or_refused(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps(content), "utf-8")
    with suppress(InvalidTopology):
        read_topology(file)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "road.toml").write_text(changed('"DE-TEST"', '"DE"'))
    done = run("--topology", str(tmp_path / "road.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"datenweg: .*road\.toml: instance: a test instance's name ends in -TEST.*\n", done.stderr)
    assert run().returncode == 2
    assert json.loads(run("--schema").stdout)["title"] == "Datenweg instance"
