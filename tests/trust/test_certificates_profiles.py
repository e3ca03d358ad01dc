"""Profiles: how an authority's certificates name members and gateways, and whose profile counts."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.trust.factory import INSTANCE, MEMBER, OTHER_MEMBER, approve, key_usage, make_authority, parameters
from tests.trust.test_certificates import ROOT, verify
from trust.certificates import CertificateVerifier
from trust.errors import CertificateUntrusted
from trust.identifiers import MemberId
from trust.parameters import PROFILE_BASIC, PROFILE_EJBCA
from trust.profiles import member_of


def test_two_authorities_each_with_its_profile() -> None:
    second = make_authority("Zweite Test CA")
    using = CertificateVerifier(parameters(approve(ROOT), approve(second, profile=PROFILE_BASIC)))
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.BUSINESS_CATEGORY, "COM"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "STADTWERKE"),
        ]
    )
    holder = second.issue(name, key_usage("content_commitment"))
    assert verify(holder, second, using=using).member == OTHER_MEMBER
    assert using.read_signer(holder.der).members == {OTHER_MEMBER}


def test_an_authority_reads_subjects_by_its_own_profile_only() -> None:
    """A subject that names one member in one profile and another in the other: the issuer's profile counts."""
    second = make_authority("Zweite Test CA")
    using = CertificateVerifier(parameters(approve(ROOT), approve(second, profile=PROFILE_BASIC)))
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FI"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Musterstadt"),
            x509.NameAttribute(NameOID.BUSINESS_CATEGORY, "COM"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{INSTANCE}/x/GOV"),
            x509.NameAttribute(NameOID.COMMON_NAME, "MUSTERSTADT"),
        ]
    )
    usage = key_usage("content_commitment")
    assert verify(ROOT.issue(name, usage), using=using).member == MEMBER
    foreign = MemberId(INSTANCE, "COM", f"{INSTANCE}/x/GOV")
    assert verify(second.issue(name, usage), second, using=using).member == foreign


def name_of(**values: str | tuple[str, ...]) -> x509.Name:
    oids = {
        "c": NameOID.COUNTRY_NAME,
        "o": NameOID.ORGANIZATION_NAME,
        "cn": NameOID.COMMON_NAME,
        "serial": NameOID.SERIAL_NUMBER,
        "category": NameOID.BUSINESS_CATEGORY,
    }
    pairs = [
        (oids[key], text) for key, value in values.items() for text in ((value,) if isinstance(value, str) else value)
    ]
    return x509.Name([x509.NameAttribute(oid, text, _validate=False) for oid, text in pairs])


FI, EJBCA, BASIC = parameters(approve(ROOT)).approved_cas[0].profile, PROFILE_EJBCA, PROFILE_BASIC


@pytest.mark.parametrize(
    ("profile", "values", "expected"),
    [
        (FI, dict(c="FI", o="x", serial="DE-TEST/ss1/GOV", cn="1"), MemberId("DE-TEST", "GOV", "1")),
        (FI, dict(c="FI", o="x", serial="DE-TEST/a b/GOV", cn="\u00e4"), MemberId("DE-TEST", "GOV", "\u00e4")),
        (FI, dict(c="FI", o="x", serial="DE-TEST/GOV", cn="1"), None),
        (FI, dict(c="FI", o="x", serial="DE-TEST/a/b/GOV", cn="1"), None),
        (FI, dict(c="FI", o="x", serial="//", cn="1"), None),
        (FI, dict(c="FI", o="x", serial="DE-TEST//", cn="1"), None),
        (FI, dict(c="FI", o="x", serial="EE/ss1/GOV", cn="1"), None),
        (FI, dict(c="FI", o="x", serial="DE-TEST/ss1/GOV"), None),
        (FI, dict(c="FI", o="x", cn="1"), None),
        (FI, dict(c="FI", o="x", serial="DE-TEST/ss1/GOV", cn=("1", "2")), None),
        (FI, dict(c="FI", o="x", serial=("DE-TEST/ss1/GOV", "DE-TEST/ss1/COM"), cn="1"), None),
        (FI, dict(c="FI", o="x", serial="DE-TEST/ss1/GOV", cn="x" * 256), None),
        (EJBCA, dict(c="DE-TEST", o="GOV", cn="1"), MemberId("DE-TEST", "GOV", "1")),
        (EJBCA, dict(c="DE", o="GOV", cn="1"), None),
        (EJBCA, dict(o="GOV", cn="1"), None),
        (EJBCA, dict(c="DE-TEST", o=("GOV", "COM"), cn="1"), None),
        (BASIC, dict(category="GOV", serial="1"), MemberId("DE-TEST", "GOV", "1")),
        (BASIC, dict(category="GOV"), None),
        ("ee.ria.xroad.common.certificateprofile.impl.Unknown", dict(serial="DE-TEST/ss1/GOV", cn="1"), None),
    ],
)
@pytest.mark.filterwarnings("ignore:Attribute's length must be")
def test_profiles(profile: str, values: dict[str, str | tuple[str, ...]], expected: MemberId | None) -> None:
    name = name_of(**values)
    if expected is not None:
        assert member_of(name, profile=profile, instance=INSTANCE) == expected
        return
    with pytest.raises(CertificateUntrusted) as caught:
        member_of(name, profile=profile, instance=INSTANCE)
    assert caught.value.code == "incorrect_certificate"
