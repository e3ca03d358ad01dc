"""Configurations that hold, in every version, and which of two configurations counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.configurations import (
    APP,
    BILLS,
    CITY,
    CITY_SERVER,
    GROUP,
    INSTANCE,
    NOW,
    UTILITY,
    UTILITY_SERVER,
    VALIDITY,
    Signed,
    anchor,
    key,
    key_pair,
    parameters,
    rsa_private_key,
    signed,
)
from trust.errors import ConfigurationExpired, ConfigurationInvalid, ConfigurationRolledBack
from trust.globalconf import (
    SHARED_PARAMETERS,
    Anchor,
    AnchorSource,
    OptionalParts,
    VerifiedConfiguration,
    build_directory,
    build_optional_parts,
    build_shared_parameters,
    is_same_but_older,
    parse_optional_parts,
    sign_directory,
    source_path,
    verify_configuration,
    verify_stored_configuration,
)
from trust.identifiers import MemberId, SecurityServerId
from trust.keys import SignatureAlgorithm, SoftwareKey
from trust.parameters import ConfigurationSource


def verified(
    configuration: Signed, *, previous: VerifiedConfiguration | None = None, trusted: Anchor | None = None
) -> VerifiedConfiguration:
    return verify_configuration(
        configuration.directory, configuration.files, anchor=trusted or anchor(), at=NOW, previous=previous
    )


def test_a_configuration_holds_and_answers_questions() -> None:
    configuration = verified(signed())
    assert configuration.parameters == parameters()
    assert configuration.private is not None
    assert configuration.private.management_provider == CITY
    assert configuration.version == 6
    assert configuration.expires == NOW + VALIDITY
    assert configuration.has_client(CITY)
    assert configuration.has_client(APP)
    assert not configuration.has_client(MemberId(INSTANCE, "GOV", "ANDERSWO"))
    assert configuration.member_name(CITY) == "Stadt Musterstadt"
    assert configuration.client_name(APP) == "Bürger-App"
    assert configuration.member_name(MemberId(INSTANCE, "GOV", "ANDERSWO")) is None
    city, utility = parameters().security_servers
    assert configuration.server(CITY_SERVER) == city
    assert configuration.server(SecurityServerId(CITY, "andere")) is None
    assert configuration.servers_of(APP) == (city, utility)
    assert configuration.servers_of(BILLS) == (utility,)
    assert configuration.servers_of(CITY) == (city,), "a gateway serves its owner"
    assert configuration.server_with_certificate(b"utility") == utility
    assert configuration.server_with_certificate(b"unknown") is None
    assert configuration.server(UTILITY_SERVER) == utility
    assert configuration.groups_of(APP) == configuration.groups_of(UTILITY) == {GROUP}
    assert configuration.groups_of(BILLS) == frozenset()


@pytest.mark.parametrize(
    "signer",
    [
        lambda: key_pair(algorithm=SignatureAlgorithm.ECDSA_SHA256),
        lambda: key_pair(ec.generate_private_key(ec.SECP384R1()), SignatureAlgorithm.ECDSA_SHA384),
        lambda: key_pair(rsa_private_key(), SignatureAlgorithm.RSA_SHA512),
        lambda: key_pair(rsa_private_key(), SignatureAlgorithm.RSA_SHA256),
        lambda: key_pair(rsa_private_key(), SignatureAlgorithm.RSA_PSS_SHA512),
    ],
)
def test_every_signature_algorithm(signer: Callable[[], SoftwareKey]) -> None:
    used = signer()
    assert verified(signed(signer=used), trusted=anchor(used)).parameters == parameters()


def test_validity_ends() -> None:
    configuration = verified(signed())
    configuration.require_current(NOW + VALIDITY - timedelta(seconds=1))
    with pytest.raises(ConfigurationExpired) as expired:
        configuration.require_current(NOW + VALIDITY)
    assert expired.value.code == "global_conf_outdated"


def test_line_ends_without_carriage_return_are_read() -> None:
    configuration = signed()
    directory = configuration.directory.replace(b"\r\n", b"\n")
    inner = directory[directory.index(b"--inner\n") : directory.index(b"--inner--\n") + len(b"--inner--\n")]
    resigned = sign_directory(inner, key(), boundary="inner", envelope_boundary="envelope")
    assert verified(Signed(resigned, configuration.files)).parameters == parameters()


def test_the_last_boundaries_may_be_missing() -> None:
    """The signature is over what is there; X-Road reads such configurations."""
    configuration = signed()
    document = configuration.directory
    assert (
        verified(Signed(document.replace(b"\r\n--envelope--\r\n", b""), configuration.files)).parameters == parameters()
    )
    inner = document[document.index(b"--inner\r\n") : document.index(b"\r\n--inner--\r\n")]
    resigned = sign_directory(inner, key(), boundary="inner", envelope_boundary="envelope")
    assert verified(Signed(resigned, configuration.files)).parameters == parameters()
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(Signed(document.replace(b"\r\n--inner--\r\n", b""), configuration.files))
    assert refused.value.code == "global_conf_signature_verification_failure"


def test_headers_may_be_folded_and_the_version_left_out() -> None:
    """As the specification's own example has it (PR-GCONF annex A.2)."""
    configuration = signed(version=2)
    folded = configuration.directory.replace(b"; hash-algorithm-id=", b";\r\n    hash-algorithm-id=")
    assert folded != configuration.directory
    assert verified(Signed(folded, configuration.files)).version == 2
    document = configuration.directory
    inner = document[document.index(b"--inner\r\n") : document.index(b"--inner--\r\n") + len(b"--inner--\r\n")]
    silent = inner.replace(b"Version: 2\r\n", b"")
    resigned = sign_directory(silent, key(), boundary="inner", envelope_boundary="envelope")
    assert verified(Signed(resigned, configuration.files)).version == 2


@pytest.mark.parametrize("version", [2, 3, 4, 5, 6])
def test_every_version_is_read(version: int) -> None:
    der = b"city"
    server = replace(
        parameters().security_servers[0], authentication_sha1=frozenset({hashlib.sha1(der).digest()}), maintenance=None
    )
    configuration = verified(signed(version=version, values=replace(parameters(), security_servers=(server,))))
    assert configuration.version == version
    found = configuration.server_with_certificate(der)
    assert found is not None
    assert found.id == CITY_SERVER
    assert bool(found.authentication_sha1) is (version == 2)
    assert bool(configuration.parameters.sources) is (version >= 3)
    assert (configuration.client_name(APP) == "Bürger-App") is (version >= 5)


def test_a_certificate_of_two_gateways_identifies_neither() -> None:
    """Such instances exist; their other gateways go on."""
    shared = hashlib.sha256(b"shared").digest()
    servers = tuple(
        replace(server, authentication_hashes=server.authentication_hashes | {shared})
        for server in parameters().security_servers
    )
    configuration = verified(signed(values=replace(parameters(), security_servers=servers)))
    assert configuration.server_with_certificate(b"shared") is None
    assert configuration.server_with_certificate(b"city") is not None


def test_optional_parts() -> None:
    configuration = verified(signed())
    assert configuration.ocsp_fetch_interval_seconds == 1200
    assert configuration.verify_next_update is True
    assert configuration.monitoring_client is None
    parts = OptionalParts(APP, 600, verify_next_update=False)
    files = build_optional_parts(parts)
    assert parse_optional_parts(files) == parts
    configuration = verified(signed(more=[*files.items(), ("SOMETHING-ELSE", b"binary")]))
    assert configuration.ocsp_fetch_interval_seconds == 600
    assert configuration.verify_next_update is False
    assert configuration.monitoring_client == APP
    assert parse_optional_parts({}) == OptionalParts()
    assert build_optional_parts(OptionalParts()) == {}


@pytest.mark.parametrize(
    ("identifier", "old", "new"),
    [
        ("FETCHINTERVAL", b">600<", b">0<"),
        ("FETCHINTERVAL", b">600<", b">-600<"),
        ("FETCHINTERVAL", b">600<", b">bald<"),
        ("FETCHINTERVAL", b">600<", b">99999999<"),
        ("FETCHINTERVAL", b"ocspFetchInterval", b"other"),
        ("NEXTUPDATE", b">false<", b">nein<"),
        ("NEXTUPDATE", b"verifyNextUpdate", b"other"),
        ("NEXTUPDATE", b"http://x-road.eu/xsd/xroad.xsd", b"http://example.test/"),
        ("MONITORING", b'"SUBSYSTEM"', b'"SERVICE"'),
        ("MONITORING", b"monitoringClient>", b"other>"),
        ("FETCHINTERVAL", b"</ocspFetchInterval>", b"</ocspFetchInterval><weiteres>1</weiteres>"),
        ("NEXTUPDATE", b"</verifyNextUpdate>", b"</verifyNextUpdate><weiteres>1</weiteres>"),
        ("MONITORING", b"</monitoringClient>", b"<weiteres/></monitoringClient>"),
        ("MONITORING", b"</monitoringClient>", b"</monitoringClient><weiteres/>"),
        ("MONITORING", b"</monitoringClientId>", b"<id:weiteres>1</id:weiteres></monitoringClientId>"),
        ("MONITORING", b"<xroad:conf", b"<xroad:conf><xroad:conf"),
    ],
)
def test_malformed_optional_parts_are_refused(identifier: str, old: bytes, new: bytes) -> None:
    files = build_optional_parts(OptionalParts(APP, 600, verify_next_update=False))
    assert old in files[identifier]
    files[identifier] = files[identifier].replace(old, new)
    with pytest.raises(ConfigurationInvalid) as refused:
        verified(signed(more=list(files.items())))
    assert refused.value.code == "malformed_optional_parts_conf"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_arbitrary_optional_parts_only_raise_our_error(data: st.DataObject) -> None:
    files = build_optional_parts(OptionalParts(APP, 600, verify_next_update=False))
    for identifier, content in files.items():
        document = bytearray(content)
        for _ in range(data.draw(st.integers(1, 4))):
            document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
        files[identifier] = bytes(document)
    with suppress(ConfigurationInvalid):
        parse_optional_parts(files)


# Alterations of what a source sends. The signature is checked before anything inside is read.


# The same, signed again by the source: what is authentic can still be wrong.


# Going back


def test_an_older_generation_is_refused() -> None:
    current = verified(signed(number=2, at=NOW))
    before = replace(parameters(), ocsp_freshness_seconds=60)
    with pytest.raises(ConfigurationRolledBack) as refused:
        verified(signed(number=1, at=NOW + timedelta(seconds=30), values=before), previous=current)
    assert refused.value.code == "global_conf_rolled_back"
    older = verified(signed(number=1))
    assert is_same_but_older(older.directory, current), "another node, a moment behind"
    assert not is_same_but_older(current.directory, older)
    assert verified(signed(number=3, at=NOW - timedelta(seconds=30)), previous=current).parameters == parameters()


def test_the_same_generation_is_accepted_with_the_same_files_only() -> None:
    current = verified(signed(number=2))
    assert verified(signed(number=2), previous=current).parameters == parameters()
    with pytest.raises(ConfigurationRolledBack):
        verified(signed(number=2, values=replace(parameters(), ocsp_freshness_seconds=60)), previous=current)


def test_without_generation_numbers_the_expiry_must_not_go_back() -> None:
    current = verified(signed(location="/shared-params.xml"))
    assert current.sequence is None
    earlier = signed(location="/shared-params.xml", expires=NOW + VALIDITY - timedelta(seconds=1))
    with pytest.raises(ConfigurationRolledBack):
        verified(earlier, previous=current)
    assert verified(signed(location="/shared-params.xml"), previous=current).parameters == parameters()
    with pytest.raises(ConfigurationRolledBack):
        verified(earlier, previous=verified(signed(number=9)))


def test_a_new_key_is_accepted_once_announced() -> None:
    new = key_pair()
    with pytest.raises(ConfigurationInvalid):
        verified(signed(signer=new, number=2), previous=verified(signed()))
    source = ConfigurationSource("registry.test", (key().certificate_der, new.certificate_der))
    announcing = verified(signed(values=replace(parameters(), sources=(source,))))
    assert verified(signed(signer=new, number=2), previous=announcing).parameters == parameters()


@pytest.mark.parametrize(
    ("urls", "path"),
    [
        (["http://a.test/internalconf"], "/internalconf"),
        (["https://a.test/other", "http://b.test:81/P/conf?version=3"], "/P/conf"),
        (["https://a.test/P/conf"], "/P/conf"),
        (["http://a.test/"], "/"),
        (["http://a.test"], ""),
    ],
)
def test_the_path_of_the_sources_is_that_of_the_first_over_plain_http(urls: list[str], path: str) -> None:
    sources = tuple(AnchorSource(url, (key().certificate_der,)) for url in urls)
    assert source_path(Anchor(INSTANCE, sources)) == path


def test_a_key_announced_for_other_instances_is_none_of_the_own() -> None:
    new = key_pair()
    source = ConfigurationSource("registry.test", (key().certificate_der,), (new.certificate_der,))
    announcing = verified(signed(values=replace(parameters(), sources=(source,))))
    with pytest.raises(ConfigurationInvalid):
        verified(signed(signer=new, number=2), previous=announcing)


def test_a_stored_configuration_may_have_expired_but_must_be_authentic() -> None:
    configuration = signed()
    stored = verify_stored_configuration(configuration.directory, configuration.files, anchor=anchor(), announced=())
    with pytest.raises(ConfigurationExpired):
        stored.require_current(NOW + timedelta(days=365))
    with pytest.raises(ConfigurationInvalid):
        verify_stored_configuration(
            configuration.directory, configuration.files, anchor=anchor(key_pair()), announced=()
        )


@pytest.mark.parametrize("instance", ["DE-TEST", "O'X-TEST", "Länder TEST"])
def test_instances_are_quoted(instance: str) -> None:
    shared = build_shared_parameters(
        replace(parameters(), instance=instance, members=(), security_servers=(), groups=())
    )
    directory = build_directory(
        [(SHARED_PARAMETERS, "/s.xml", shared)], instance=instance, version=6, expires=NOW + VALIDITY, boundary="b"
    )
    document = sign_directory(directory, key(), boundary="b", envelope_boundary="e")
    trusted = Anchor(instance, anchor().sources)
    assert verified(Signed(document, {"/s.xml": shared}), trusted=trusted).parameters.instance == instance
