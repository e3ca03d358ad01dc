"""Verification configurations: what is built is read, in every version, and nothing else."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.configurations import INSTANCE, NOW, VALIDITY, anchor, parameters, signed
from tests.trust.zips import Entry, pack
from trust.asic import (
    InstanceParameters,
    build_verification_configuration,
    instance_parameters,
    parse_verification_configuration,
    read_verification_configuration,
)
from trust.errors import ConfigurationInvalid, TrustError
from trust.globalconf import VerifiedConfiguration, build_shared_parameters, verify_configuration

XML = build_shared_parameters(parameters())
OTHER = replace(parameters(), instance="EE/TEST", members=(), security_servers=(), groups=())


def verified() -> VerifiedConfiguration:
    source = signed()
    return verify_configuration(source.directory, source.files, anchor=anchor(), at=NOW, previous=None)


def test_what_is_built_is_read() -> None:
    one = instance_parameters(verified())
    archive = build_verification_configuration([one])
    read = read_verification_configuration(archive)
    assert read.instance == INSTANCE
    assert read.parameters == {INSTANCE: parameters()}
    assert archive == build_verification_configuration([one])


def test_the_archive_is_as_the_specification_has_it() -> None:
    archive = build_verification_configuration([instance_parameters(verified())])
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert files.namelist() == [
            "verificationconf/instance-identifier",
            "verificationconf/DE-TEST/shared-params.xml",
            "verificationconf/DE-TEST/shared-params.xml.metadata",
        ]
        assert files.read("verificationconf/instance-identifier") == b"DE-TEST"
        metadata = json.loads(files.read("verificationconf/DE-TEST/shared-params.xml.metadata"))
    assert metadata == {
        "contentIdentifier": "SHARED-PARAMETERS",
        "instanceIdentifier": "DE-TEST",
        "contentFileName": "shared-params.xml",
        "contentLocation": "/V6/20261122100000000000001/shared-params.xml",
        "expirationDate": f"{NOW + VALIDITY:%Y-%m-%dT%H:%M:%SZ}",
        "configurationVersion": "6",
    }


def test_the_parameters_are_those_that_were_published() -> None:
    published = XML + b"\n<!-- as it came -->"
    archive = build_verification_configuration([instance_parameters(verified(), published)])
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert files.read("verificationconf/DE-TEST/shared-params.xml") == published


def test_several_instances() -> None:
    both = [InstanceParameters(INSTANCE, XML), InstanceParameters("EE/TEST", build_shared_parameters(OTHER))]
    read = read_verification_configuration(build_verification_configuration(both))
    assert (read.instance, list(read.parameters)) == (INSTANCE, [INSTANCE, "EE/TEST"])


def test_from_within_the_folder() -> None:
    files = {"instance-identifier": b"DE-TEST\n", "DE-TEST/shared-params.xml": XML, "files": b"", "a/b/c.xml": b""}
    assert parse_verification_configuration(files).instance == INSTANCE


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_every_version_is_read(version: int) -> None:
    files = {"instance-identifier": b"DE-TEST", "DE-TEST/shared-params.xml": build_shared_parameters(
        replace(parameters(), security_servers=()), version)}  # fmt: skip
    read = parse_verification_configuration(files).parameters[INSTANCE]
    assert read.approved_tsas[0].certificate == parameters().approved_tsas[0].certificate


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"instance-identifier": b"DE-TEST"},
        {"DE-TEST/shared-params.xml": XML},
        {"instance-identifier": b"\xff", "DE-TEST/shared-params.xml": XML},
        {"instance-identifier": b"DE-OTHER", "DE-TEST/shared-params.xml": XML},
        {"instance-identifier": b"DE-TEST", "DE-OTHER/shared-params.xml": XML},
        {"instance-identifier": b"DE-TEST", "DE-TEST/shared-params.xml": b"<x/>"},
        {"instance-identifier": b"DE-TEST", "DE-TEST/shared-params.xml": XML, "X/shared-params.xml": XML},
    ],
)
def test_what_is_no_configuration_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(ConfigurationInvalid):
        parse_verification_configuration(files)


@pytest.mark.parametrize(
    "archive",
    [b"", b"PK", pack([Entry("../instance-identifier", b"DE-TEST")]), pack([Entry(f"x{n}", b"") for n in range(501)])],
    ids=["nothing", "no archive", "a path upwards", "too many"],
)
def test_an_archive_that_is_none_is_refused(archive: bytes) -> None:
    with pytest.raises(ConfigurationInvalid, match="not an archive"):
        read_verification_configuration(archive)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(TrustError):
        read_verification_configuration(data)
