"""Shared parameters as XML: what is written is read, in every version; contradictions are neither."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.configurations import APP, BILLS, CITY, INSTANCE, key, parameters
from trust.errors import ConfigurationInvalid
from trust.globalconf import VERSIONS, build_registry_state, build_shared_parameters, parse_shared_parameters
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.parameters import (
    ACMEServer,
    ApprovedCA,
    CostType,
    CSRFormat,
    GlobalGroup,
    Member,
    MemberClass,
    SecurityServer,
    SharedParameters,
    Subsystem,
)

# What XML can carry, and what identifiers allow (PR-MESS 2.2).
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Co", "Cn")) | st.sampled_from("\t\n\r"), max_size=30)
CODE = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Co", "Cn"), blacklist_characters="\u200b\ufeff"),
    min_size=1,
    max_size=20,
)


@st.composite
def instances(draw: st.DrawFn) -> SharedParameters:
    instance = draw(CODE)
    members = []
    clients: list[ClientId] = []
    for member_class, code in draw(st.sets(st.tuples(CODE, CODE), max_size=4)):
        member = MemberId(instance, member_class, code)
        subsystems = tuple(
            Subsystem(SubsystemId(instance, member_class, code, part), draw(TEXT))
            for part in draw(st.sets(CODE, max_size=3))
        )
        members.append(Member(member, draw(TEXT), subsystems))
        clients += [member, *(subsystem.id for subsystem in subsystems)]
    some = st.frozensets(st.sampled_from(clients), max_size=4) if clients else st.just(frozenset[ClientId]())
    owners = [member.id for member in members]
    names = draw(st.sets(st.tuples(st.sampled_from(owners), CODE), max_size=3)) if owners else set()
    servers = tuple(
        SecurityServer(
            SecurityServerId(owner, code),
            draw(st.sampled_from(["", "host", "127.0.0.1:5500"])),
            frozenset(hashlib.sha256(f"{owner}{code}{n}".encode()).digest() for n in range(draw(st.integers(0, 2)))),
            draw(some),
            draw(st.none() | TEXT),
        )
        for owner, code in names
    )
    groups = tuple(
        GlobalGroup(GlobalGroupId(instance, code), draw(TEXT), draw(some)) for code in draw(st.sets(CODE, max_size=2))
    )
    classes = tuple(MemberClass(code, draw(TEXT)) for code in draw(st.sets(CODE, max_size=2)))
    return SharedParameters(
        instance,
        members=tuple(members),
        security_servers=servers,
        groups=groups,
        member_classes=classes,
        ocsp_freshness_seconds=draw(st.integers(1, 86_400)),
    )


@settings(max_examples=150, deadline=None)
@given(instances())
def test_what_is_written_is_read(values: SharedParameters) -> None:
    data = build_shared_parameters(values)
    assert parse_shared_parameters(data) == values
    assert build_shared_parameters(values) == data


def test_a_full_instance_round_trips() -> None:
    certificate = key().certificate_der
    values = replace(
        parameters(),
        approved_cas=(
            ApprovedCA("Eins", certificate, (certificate,), ("http://a", "http://b"), (certificate,), "Profil", True),
            ApprovedCA("Zwei", certificate),
        ),
    )
    assert parse_shared_parameters(build_shared_parameters(values)) == values


def test_certificates_may_be_pem_and_base64_may_be_folded() -> None:
    data = build_shared_parameters(parameters())
    plain = base64.b64encode(key().certificate_der)
    pem = base64.encodebytes(key().certificate.public_bytes(Encoding.PEM))
    assert parse_shared_parameters(data.replace(plain, pem)) == parameters()


def test_elements_of_later_forms_are_skipped() -> None:
    data = build_shared_parameters(parameters())
    data = data.replace(b"</xroad:conf>", b"<later xmlns='urn:later'><a>1</a></later><other/></xroad:conf>")
    data = data.replace(
        b"<globalSettings>", b"<centralService><serviceCode>x</serviceCode></centralService><globalSettings>"
    )
    assert b"centralService" in data
    assert parse_shared_parameters(data) == parameters()


def test_subsystems_of_older_versions_have_no_name() -> None:
    data = build_shared_parameters(parameters()).replace("<subsystemName>Bürger-App</subsystemName>".encode(), b"")
    assert parse_shared_parameters(data).members[0].subsystems == (Subsystem(APP, ""),)


def sub(old: str, new: str, count: int = -1) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        changed = data.replace(old.encode(), new.encode(), count)
        assert changed != data
        return changed

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-10],
        lambda data: b'<!DOCTYPE x [<!ENTITY a "b">]>' + data.partition(b"?>\n")[2],
        sub("xroad:conf", "xroad:configuration"),
        sub("http://x-road.eu/xsd/xroad.xsd", "http://example.test/"),
        sub("<instanceIdentifier>DE-TEST</instanceIdentifier>", ""),
        sub("<instanceIdentifier>DE-TEST<", "<instanceIdentifier><"),
        sub("<instanceIdentifier>DE-TEST<", "<instanceIdentifier>DE<b/>-TEST<"),
        sub("<memberCode>MUSTERSTADT<", "<memberCode>MUSTER\u200bSTADT<"),
        sub("<memberCode>STADTWERKE<", "<memberCode>" + "x" * 256 + "<"),
        sub('id="id1"', 'id="id0"'),
        sub("<owner>id0<", "<owner>id9<"),
        sub("<owner>id0<", "<owner>id1<"),
        sub("<client>id1<", "<client>nobody<"),
        sub("<subsystemCode>rechnungen</subsystemCode>", ""),
        sub("<ocspFreshnessSeconds>1800<", "<ocspFreshnessSeconds>0<"),
        sub("<ocspFreshnessSeconds>1800<", "<ocspFreshnessSeconds>-5<"),
        sub("<ocspFreshnessSeconds>1800<", "<ocspFreshnessSeconds>99999999<"),
        sub("<ocspFreshnessSeconds>1800<", "<ocspFreshnessSeconds>bald<"),
        sub("<ocspFreshnessSeconds>1800</ocspFreshnessSeconds>", ""),
        sub("</globalSettings>", "</globalSettings><globalSettings/>"),
        sub("<authCertHash>", "<authCertHash>AAAA"),
        sub("<authCertHash>", "<authCertHash>*"),
        sub("<topCA>", "<authenticationOnly>vielleicht</authenticationOnly><topCA>"),
        sub("<topCA>", "<topCB>", 1),
        sub('objectType="MEMBER"', 'objectType="SERVICE"'),
        sub('id:objectType="MEMBER"', ""),
        lambda data: data.replace(base64.b64encode(key().certificate_der), b"AAAA"),
    ],
)
def test_malformed_parameters_are_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        parse_shared_parameters(change(build_shared_parameters(parameters())))
    assert refused.value.code == "malformed_global_conf"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, members=p.members * 2),
        lambda p: replace(p, security_servers=p.security_servers * 2),
    ],
)
def test_ambiguous_parameters_are_refused(change: Callable[[SharedParameters], SharedParameters]) -> None:
    with pytest.raises(ConfigurationInvalid):
        parse_shared_parameters(build_shared_parameters(change(parameters())))


@pytest.mark.parametrize(
    "values",
    [
        replace(parameters(), members=(Member(CITY, "\x00"),), security_servers=()),
        replace(parameters(), members=()),
        replace(
            parameters(),
            security_servers=(
                SecurityServer(SecurityServerId(CITY, "s"), "", clients=frozenset({MemberId(INSTANCE, "X", "Y")})),
            ),
        ),
    ],
)
def test_contradictions_are_not_written(values: SharedParameters) -> None:
    with pytest.raises(ConfigurationInvalid):
        build_shared_parameters(values)


def full() -> SharedParameters:
    """An instance with everything that version 6 can say."""
    certificate = key().certificate_der
    authority = ApprovedCA(
        "Prüfstelle",
        certificate,
        (certificate,),
        ("http://a/ocsp", "http://b/ocsp"),
        (certificate,),
        ocsp_costs=(("http://a/ocsp", CostType.FREE), ("http://b/ocsp", CostType.PAID)),
        default_csr_format=CSRFormat.DER,
        acme=ACMEServer("http://a/directory", "192.0.2.1,192.0.2.2", "auth", "sign"),
    )
    tsa = replace(parameters().approved_tsas[0], cost_type=CostType.UNDEFINED)
    servers = tuple(replace(s, authentication_sha1=frozenset({b"x" * 20})) for s in parameters().security_servers[:1])
    return replace(
        parameters(),
        approved_cas=(authority,),
        approved_tsas=(tsa,),
        security_servers=(*servers, parameters().security_servers[1]),
    )


# What each version is the first to say.
SINCE = {
    3: ("<source>", "acmeServer", "directoryURL", "ipAddress"),
    4: ("authenticationCertificateProfileId", "signingCertificateProfileId"),
    5: ("subsystemName", "inMaintenanceMode"),
    6: ("costType", "defaultCsrFormat"),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_says_what_it_can(version: int) -> None:
    data = build_shared_parameters(full(), version)
    text = data.decode()
    for since, names in SINCE.items():
        for name in names:
            assert (name in text) is (version >= since), (version, name)
    found = parse_shared_parameters(data, version)
    assert found.members[0].id == CITY
    lengths = {len(base64.b64decode(hash_)) for hash_ in re.findall("<authCertHash>(.*?)<", text)}
    assert lengths == ({20} if version == 2 else {32})
    if version == 6:
        without = tuple(replace(s, authentication_sha1=frozenset()) for s in full().security_servers)
        assert found == replace(full(), security_servers=without)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_is_of_the_schemas_order(version: int) -> None:
    """The schemas are sequences: whoever validates refuses another order."""
    text = build_shared_parameters(full(), version).decode()
    order = [
        "<instanceIdentifier>", "<source>", "<approvedCA>", "<topCA>", "<intermediateCA>", "<certificateProfileInfo>",
        "<defaultCsrFormat>", "<acmeServer>", "<approvedTSA>", "<member id=", "<memberClass>", "<memberCode>",
        "<securityServer>", "<globalGroup>", "<globalSettings>",
    ]  # fmt: skip
    positions = [text.index(name) for name in order if name in text]
    assert positions == sorted(positions)


@pytest.mark.parametrize("version", [0, 1, 7])
def test_no_other_version_is_written(version: int) -> None:
    with pytest.raises(ConfigurationInvalid):
        build_shared_parameters(parameters(), version)


def test_the_registrys_state_keeps_both_hashes() -> None:
    assert parse_shared_parameters(build_registry_state(full())) == full()


def test_sha1_belongs_to_version_2() -> None:
    data = build_shared_parameters(full(), 2)
    assert parse_shared_parameters(data, 2).security_servers[0].authentication_sha1 == {b"x" * 20}
    for version in (3, 4, 5, 6):
        with pytest.raises(ConfigurationInvalid):
            parse_shared_parameters(data, version)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<costType>FREE<", "<costType>CHEAP<"),
        ("<defaultCsrFormat>DER<", "<defaultCsrFormat>XML<"),
        ("<acmeServer>", "<acmeServer/><acmeServer>"),
        ("<directoryURL>http://a/directory</directoryURL>", ""),
    ],
)
def test_what_the_newer_schemas_forbid_is_refused(old: str, new: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        parse_shared_parameters(sub(old, new)(build_shared_parameters(full())))
    assert refused.value.code == "malformed_global_conf"


def test_a_client_of_a_federated_instance_may_be_in_a_group() -> None:
    foreign = SubsystemId("EE-TEST", "GOV", "1", "x")
    group = GlobalGroup(GlobalGroupId(INSTANCE, "g"), "", frozenset({foreign, BILLS}))
    values = replace(parameters(), groups=(group,))
    assert parse_shared_parameters(build_shared_parameters(values)).groups == (group,)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_arbitrary_bytes_only_raise_our_error(data: st.DataObject) -> None:
    document = bytearray(build_shared_parameters(parameters()))
    for _ in range(data.draw(st.integers(1, 4))):
        document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ConfigurationInvalid):
        parse_shared_parameters(bytes(document))
