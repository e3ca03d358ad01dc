from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.configurations import APP, BILLS, CITY, INSTANCE, key, parameters
from trust.errors import ConfigurationInvalid
from trust.globalconf import build_shared_parameters, parse_shared_parameters
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.parameters import (
    ApprovedCA,
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


def test_elements_of_x_road_that_we_do_not_use_are_skipped() -> None:
    data = build_shared_parameters(parameters())
    data = data.replace(b"</url>\n      </ocsp>", b"</url><costType>FREE</costType></ocsp>")
    data = data.replace(
        b"</certificateProfileInfo>", b"</certificateProfileInfo><defaultCsrFormat>PEM</defaultCsrFormat>"
    )
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
        lambda p: replace(
            p,
            security_servers=tuple(
                replace(s, authentication_hashes=frozenset({b"x" * 32})) for s in p.security_servers
            ),
        ),
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


def test_only_version_6_is_written() -> None:
    with pytest.raises(ConfigurationInvalid):
        build_shared_parameters(parameters(), 5)


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
