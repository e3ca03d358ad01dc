"""Certificate profiles: whom a subject names, and what a request's subject says."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from trust import profiles as p
from trust.errors import CertificateUntrusted, KeyUnavailable
from trust.identifiers import MemberId, SecurityServerId
from trust.parameters import PROFILE_BASIC, PROFILE_EJBCA, PROFILE_FI_VRK

INSTANCE = "DE-TEST"
MEMBER = MemberId(INSTANCE, "GOV", "MUSTERSTADT")
SERVER = SecurityServerId(MEMBER, "ss1")
OIDS = {
    "c": NameOID.COUNTRY_NAME,
    "o": NameOID.ORGANIZATION_NAME,
    "ou": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "cn": NameOID.COMMON_NAME,
    "serial": NameOID.SERIAL_NUMBER,
    "category": NameOID.BUSINESS_CATEGORY,
    "organisation": NameOID.ORGANIZATION_IDENTIFIER,
}


def name(**values: str | tuple[str, ...]) -> x509.Name:
    """A subject; a tuple repeats an attribute."""
    flat = [(key, v) for key, value in values.items() for v in ((value,) if isinstance(value, str) else value)]
    return x509.Name([x509.NameAttribute(OIDS[key], value) for key, value in flat])


def read(profile: str, subject: x509.Name, instance: str = INSTANCE) -> MemberId:
    return p.member_of(subject, profile=profile, instance=instance)


@pytest.mark.parametrize(
    ("profile", "values", "expected"),
    [
        # The two older forms of Finland's authority: with a unit, and as EJBCA's.
        (PROFILE_FI_VRK, {"c": "FI", "o": INSTANCE, "ou": "GOV", "cn": "1"}, "DE-TEST/GOV/1"),
        (PROFILE_FI_VRK, {"c": "FI", "o": "Name", "cn": "1", "serial": "DE-TEST/ss/GOV"}, "DE-TEST/GOV/1"),
        # Another country, no country, no organisation: none of its authority's certificates.
        (PROFILE_FI_VRK, {"c": "DE", "o": "Name", "cn": "1", "serial": "DE-TEST/ss/GOV"}, None),
        (PROFILE_FI_VRK, {"o": "Name", "cn": "1", "serial": "DE-TEST/ss/GOV"}, None),
        (PROFILE_FI_VRK, {"c": "FI", "cn": "1", "serial": "DE-TEST/ss/GOV"}, None),
        (PROFILE_FI_VRK, {"c": "FI", "o": "Name", "serial": "DE-TEST/ss/GOV"}, None),
        (PROFILE_FI_VRK, {"c": "DE", "o": INSTANCE, "ou": "GOV", "cn": "1"}, None),
        (PROFILE_FI_VRK, {"c": "FI", "o": "Name", "cn": "1", "serial": "DE-TEST/GOV"}, None),
        (PROFILE_FI_VRK, {"c": "FI", "o": "Name", "cn": "1", "serial": "DE-TEST/a/b/GOV"}, None),
        (PROFILE_FI_VRK, {"c": "FI", "o": "Name", "cn": "1", "serial": "//"}, None),
        (PROFILE_FI_VRK, {"c": "FI", "o": "Name", "cn": "1", "serial": "EE/ss/GOV"}, None),
        (p.PROFILE_FO, {"c": "FO", "o": INSTANCE, "ou": "GOV", "cn": "1", "serial": "x"}, "DE-TEST/GOV/1"),
        (p.PROFILE_FO, {"c": "IS", "o": INSTANCE, "ou": "GOV", "cn": "1", "serial": "x"}, None),
        (p.PROFILE_FO, {"c": "FO", "o": INSTANCE, "ou": "GOV", "cn": "1"}, None),
        (p.PROFILE_FO, {"c": "FO", "o": INSTANCE, "cn": "1", "serial": "x"}, None),
        (p.PROFILE_IS, {"c": "IS", "o": INSTANCE, "ou": "GOV", "cn": "1", "serial": "x"}, "DE-TEST/GOV/1"),
        (p.PROFILE_IS, {"c": "IS", "o": INSTANCE, "ou": "GOV", "cn": "1"}, None),
        (p.PROFILE_IS, {"c": "FO", "o": INSTANCE, "ou": "GOV", "cn": "1", "serial": "x"}, None),
        (PROFILE_BASIC, {"category": "GOV", "serial": "1", "cn": "Name"}, "DE-TEST/GOV/1"),
        (PROFILE_BASIC, {"category": ("GOV", "COM"), "serial": "1"}, None),
        (p.PROFILE_BASIC_ACME, {"category": "COM", "serial": "2", "cn": "Name"}, "DE-TEST/COM/2"),
        (p.PROFILE_BASIC_ACME, {"serial": "2"}, None),
        (p.PROFILE_SK_ESTEID, {"serial": "PNOEE-1", "cn": "Name"}, "DE-TEST/PERSON/PNOEE-1"),
        (p.PROFILE_SK_ESTEID, {"cn": "Name"}, None),
        (p.PROFILE_SK_KLASS3, {"organisation": "NTREE-10747013"}, "DE-TEST/COM/10747013"),
        (p.PROFILE_SK_KLASS3, {"organisation": "GO:EE-70006317"}, "DE-TEST/GOV/70006317"),
        (p.PROFILE_SK_KLASS3, {"organisation": "NP:EE-80123456"}, "DE-TEST/NGO/80123456"),
        (p.PROFILE_SK_KLASS3, {"organisation": "VATDE-123"}, "DE-TEST/NEE/VATDE-123"),
        # The identifier counts even beside a serial number.
        (p.PROFILE_SK_KLASS3, {"organisation": "NTREE-1", "serial": "70000000"}, "DE-TEST/COM/1"),
        (p.PROFILE_SK_KLASS3, {"serial": "10000000"}, "DE-TEST/COM/10000000"),
        (p.PROFILE_SK_KLASS3, {"serial": "69999999"}, "DE-TEST/COM/69999999"),
        (p.PROFILE_SK_KLASS3, {"serial": "70000000"}, "DE-TEST/GOV/70000000"),
        (p.PROFILE_SK_KLASS3, {"serial": "80000000"}, "DE-TEST/NGO/80000000"),
        (p.PROFILE_SK_KLASS3, {"serial": "90000000"}, "DE-TEST/NGO/90000000"),
        (p.PROFILE_SK_KLASS3, {"serial": "00000000"}, None),
        (p.PROFILE_SK_KLASS3, {"serial": "1234567"}, None),
        (p.PROFILE_SK_KLASS3, {"serial": "1234567x"}, None),
        (p.PROFILE_SK_KLASS3, {"serial": "١٢٣٤٥٦٧٨"}, None),
        (p.PROFILE_SK_KLASS3, {"organisation": "NTREE-"}, None),
        (p.PROFILE_SK_KLASS3, {"cn": "Name"}, None),
        ("", {"cn": "Name"}, None),
    ],
)
def test_reading(profile: str, values: dict[str, str | tuple[str, ...]], expected: str | None) -> None:
    if expected is not None:
        assert read(profile, name(**values)).encoded == expected
        return
    with pytest.raises(CertificateUntrusted) as caught:
        read(profile, name(**values))
    assert caught.value.code == "incorrect_certificate"


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize("profile", sorted(p.PROFILES - {p.PROFILE_SK_ESTEID}))
def test_what_is_written_is_read_back(profile: str) -> None:
    code = "10747013" if profile == p.PROFILE_SK_KLASS3 else "MUSTERSTADT"
    member = MemberId(INSTANCE, "COM" if profile == p.PROFILE_SK_KLASS3 else "GOV", code)
    applicant = p.Applicant(member, SERVER, "Stadt Musterstadt", "DE", "gateway.example")
    assert read(profile, p.signing_subject(applicant, profile=profile)) == member
    assert p.authentication_subject(applicant, profile=profile)


def test_requests_follow_the_profile() -> None:
    applicant = p.Applicant(MEMBER, SERVER, "Stadt Musterstadt", "DE", "gateway.example")
    text = {
        profile: p.signing_subject(applicant, profile=profile).rfc4514_string()
        for profile in sorted(p.PROFILES - {p.PROFILE_SK_ESTEID})
    }
    assert text[PROFILE_EJBCA] == "CN=MUSTERSTADT,O=GOV,C=DE-TEST"
    assert text[PROFILE_FI_VRK] == "CN=MUSTERSTADT,2.5.4.5=DE-TEST/ss1/GOV,O=Stadt Musterstadt,C=FI"
    assert text[PROFILE_BASIC] == "CN=Stadt Musterstadt,2.5.4.5=MUSTERSTADT,2.5.4.15=GOV,O=Stadt Musterstadt,C=DE"
    assert text[p.PROFILE_IS] == "2.5.4.5=DE-TEST/GOV/MUSTERSTADT/ss1,CN=MUSTERSTADT,OU=GOV,O=DE-TEST,C=IS"
    gateway = p.authentication_subject(applicant, profile=PROFILE_FI_VRK).rfc4514_string()
    assert gateway == "CN=gateway.example,2.5.4.5=DE-TEST/ss1/GOV,O=Stadt Musterstadt,C=FI"


@pytest.mark.parametrize("build", [p.signing_subject, p.authentication_subject])
def test_requests_that_can_not_be_made(build: object) -> None:
    for profile, applicant in (
        (p.PROFILE_SK_ESTEID, p.Applicant(MEMBER, SERVER, "Name", "DE", "h")),
        (PROFILE_BASIC, p.Applicant(MEMBER, SERVER, "Name", "", "h")),
        (PROFILE_FI_VRK, p.Applicant(MEMBER, SERVER, "", "DE", "h")),
        (PROFILE_BASIC, p.Applicant(MEMBER, SERVER, "N" * 70, "DE", "h" * 70)),
    ):
        with pytest.raises(KeyUnavailable) as caught:
            build(applicant, profile=profile)  # type: ignore[operator]
        assert caught.value.code == "csr_not_found"


@given(
    st.dictionaries(st.sampled_from(sorted(set(OIDS) - {"c"})), st.text(min_size=1, max_size=60), max_size=5),
    st.sampled_from(sorted(p.PROFILES)),
)
def test_any_subject_is_read_or_refused(values: dict[str, str], profile: str) -> None:
    try:
        subject = name(**values)
    except ValueError:
        return
    try:
        assert read(profile, subject).instance == INSTANCE
    except CertificateUntrusted as error:
        assert error.code == "incorrect_certificate"  # noqa: PT017 - nothing else may come out
