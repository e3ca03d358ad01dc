"""The authority for tests: only for test instances, and what it issues holds before our own verifiers."""

from __future__ import annotations

import base64
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from trust.certificates import CertificateVerifier
from trust.errors import KeyUnavailable, StatusNotGood
from trust.identifiers import MemberId
from trust.ocsp import build_request, verify_response
from trust.parameters import PROFILE_BASIC, PROFILE_FI_VRK, ApprovedCA, SharedParameters
from trust.profiles import member_of
from trust.testca import CertificateAuthority, CertificateRefused, NotATestInstance, build_app
from trust.testca.ocsp_responder import OCSPResponder
from trust.timestamp import build_request as build_timestamp_request
from trust.timestamp import parse_response

MEMBER = MemberId("DE-TEST", "GOV", "MUSTERSTADT")
OCSP_URL = "http://127.0.0.1:8001/ocsp"


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def authority(tmp_path: Path, time: Time) -> CertificateAuthority:
    return CertificateAuthority.load_or_create(tmp_path / "ca", "DE-TEST", clock=time)


def signing(authority: CertificateAuthority, validity: timedelta = timedelta(days=1)) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    return authority.issue_signing(
        key.public_key(), MEMBER, member_name="Stadt Musterstadt", server_code="gateway1", validity=validity
    )


def status(authority: CertificateAuthority, certificate: x509.Certificate, answer: bytes, at: datetime) -> object:
    return verify_response(
        answer,
        certificate=certificate,
        issuer=authority.root.certificate,
        authorised_responders=[authority.ocsp.certificate],
        freshness=timedelta(hours=1),
        at=at,
    )


@pytest.mark.parametrize("instance", ["DE", "EE", "TESTING", "DE-TEST-2", "PROD", "", "de-test", "DE-TEST\n"])
def test_only_test_instances_are_served(tmp_path: Path, instance: str) -> None:
    with pytest.raises(NotATestInstance):
        CertificateAuthority.load_or_create(tmp_path / "ca", instance)
    assert not (tmp_path / "ca").exists()


@pytest.mark.parametrize("instance", ["DE-TEST", "TEST", "DEMO", "DEV", "X-TEST"])
def test_test_instances_are_served(tmp_path: Path, instance: str) -> None:
    assert build_app(CertificateAuthority.load_or_create(tmp_path, instance))


def test_a_directory_belongs_to_one_instance(tmp_path: Path) -> None:
    CertificateAuthority.load_or_create(tmp_path, "DE-TEST")
    with pytest.raises(NotATestInstance):
        CertificateAuthority.load_or_create(tmp_path, "EE-TEST")


def test_it_is_made_once_and_kept(authority: CertificateAuthority) -> None:
    again = CertificateAuthority.load_or_create(authority.directory, "DE-TEST")
    assert again.root.certificate == authority.root.certificate
    assert all(path.stat().st_mode & 0o077 == 0 for path in authority.directory.glob("*.key"))


def test_a_broken_directory_is_not_served(authority: CertificateAuthority) -> None:
    (authority.directory / "ocsp.key").write_bytes((authority.directory / "tsa.key").read_bytes())
    with pytest.raises(KeyUnavailable):
        CertificateAuthority.load_or_create(authority.directory, "DE-TEST")
    (authority.directory / "ocsp.key").unlink()
    with pytest.raises(KeyUnavailable):
        CertificateAuthority.load_or_create(authority.directory, "DE-TEST")


def test_signing_certificates_are_accepted_by_the_verifier(authority: CertificateAuthority, time: Time) -> None:
    certificate = signing(authority)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.content_commitment
    assert not usage.digital_signature
    parameters = SharedParameters("DE-TEST", approved_cas=(authority.approved_ca(OCSP_URL),))
    answer = OCSPResponder(authority).answer(build_request(certificate, authority.root.certificate))
    verified = CertificateVerifier(parameters).verify_signing(
        certificate.public_bytes(Encoding.DER), ocsp_response=answer, at=time()
    )
    assert verified.member == MEMBER


def test_authentication_certificates_are_accepted_by_the_verifier(authority: CertificateAuthority, time: Time) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue_authentication(
        key.public_key(), MEMBER, member_name="Stadt Musterstadt", server_code="gateway1", ocsp_urls=[OCSP_URL]
    )
    extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    parameters = SharedParameters("DE-TEST", approved_cas=(authority.approved_ca(OCSP_URL),))
    answer = OCSPResponder(authority).answer(build_request(certificate, authority.root.certificate))
    verified = CertificateVerifier(parameters).verify_authentication(
        certificate.public_bytes(Encoding.DER), ocsp_responses=[answer], at=time()
    )
    assert verified.certificate == certificate


def test_validity_is_chosen(authority: CertificateAuthority, time: Time) -> None:
    assert signing(authority, timedelta(minutes=2)).not_valid_after_utc == time() + timedelta(minutes=2)


@pytest.mark.parametrize(
    ("member", "server"),
    [(MEMBER, "gate/way"), (MEMBER, "x" * 64), (MemberId("DE-TEST", "GOV", "x" * 65), "gateway1")],
)
def test_what_does_not_fit_into_a_finnish_subject_is_refused(tmp_path: Path, member: MemberId, server: str) -> None:
    authority = CertificateAuthority.load_or_create(tmp_path, "DE-TEST", profile="fi-vrk")
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(CertificateRefused):
        authority.issue_signing(key, member, member_name="x", server_code=server)


@pytest.mark.parametrize(("member_class", "code"), [("GOV", "x" * 65), ("x" * 65, "1"), ("GOV", "")])
def test_what_does_not_fit_into_a_subject_is_refused(
    authority: CertificateAuthority, member_class: str, code: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    member = MemberId("DE-TEST", member_class, code)
    with pytest.raises(CertificateRefused):
        authority.issue_signing(key, member, member_name="x", server_code="ss1")


@pytest.mark.parametrize(("name", "profile"), [("basic", PROFILE_BASIC), ("fi-vrk", PROFILE_FI_VRK)])
def test_codes_that_no_printable_string_holds_stand_in_a_subject(tmp_path: Path, name: str, profile: str) -> None:
    authority = CertificateAuthority.load_or_create(tmp_path, "DE-TEST", profile=name)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    member = MemberId("DE-TEST", "GÖV & Co", "Bürger/amt")
    issued = authority.issue_signing(key, member, member_name="x", server_code="gate_way")
    read = x509.load_der_x509_certificate(issued.public_bytes(Encoding.DER)).subject
    assert authority.approved_ca(OCSP_URL).profile == profile
    assert member_of(read, profile=profile, instance="DE-TEST") == member


def test_the_subjects_of_each_profile(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    subjects = {}
    for name in ("basic", "fi-vrk"):
        authority = CertificateAuthority.load_or_create(tmp_path / name, "DE-TEST", profile=name)
        signing = authority.issue_signing(key, MEMBER, member_name="Stadt", server_code="ss1")
        gateway = authority.issue_authentication(key, MEMBER, member_name="Stadt", server_code="ss1")
        subjects[name] = (signing.subject.rfc4514_string(), gateway.subject.rfc4514_string())
    # serialNumber is 2.5.4.5, businessCategory 2.5.4.15.
    assert subjects["basic"] == (
        "CN=Stadt,2.5.4.5=MUSTERSTADT,2.5.4.15=GOV,O=Stadt,C=DE",
        "CN=localhost,2.5.4.5=MUSTERSTADT,O=Stadt,C=DE",
    )
    assert subjects["fi-vrk"] == (
        "CN=MUSTERSTADT,2.5.4.5=DE-TEST/ss1/GOV,O=Stadt,C=FI",
        "CN=localhost,2.5.4.5=DE-TEST/ss1/GOV,O=Stadt,C=FI",
    )


def test_an_authority_keeps_the_profile_of_what_it_has_issued(tmp_path: Path) -> None:
    CertificateAuthority.load_or_create(tmp_path, "DE-TEST", profile="fi-vrk")
    assert CertificateAuthority.load_or_create(tmp_path, "DE-TEST").profile == PROFILE_FI_VRK
    # Directories of before the choice say nothing: theirs was this one.
    (tmp_path / "authority.json").write_text('{"instance": "DE-TEST"}')
    assert CertificateAuthority.load_or_create(tmp_path, "DE-TEST").profile == PROFILE_FI_VRK


def test_members_of_other_instances_are_refused(authority: CertificateAuthority) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(NotATestInstance):
        authority.issue_signing(key, MemberId("EE", "GOV", "1"), member_name="x", server_code="s")


def test_a_revocation_counts_at_once_also_from_another_process(authority: CertificateAuthority, time: Time) -> None:
    certificate, other = signing(authority), signing(authority)
    responder = OCSPResponder(authority)
    request = build_request(certificate, authority.root.certificate)
    status(authority, certificate, responder.answer(request), time())
    # Another process would have its own object on the same directory.
    elsewhere = CertificateAuthority.load_or_create(authority.directory, "DE-TEST", clock=time)
    revoked = elsewhere.revoke(certificate.serial_number, x509.ReasonFlags.key_compromise)
    with pytest.raises(StatusNotGood):
        status(authority, certificate, responder.answer(request), time())
    answer = ocsp.load_der_ocsp_response(responder.answer(request))
    assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert answer.revocation_reason is x509.ReasonFlags.key_compromise
    assert answer.revocation_time_utc == revoked.time
    status(authority, other, responder.answer(build_request(other, authority.root.certificate)), time())
    assert elsewhere.revoke(certificate.serial_number) == revoked
    authority.revoke(other.serial_number)
    assert authority.status_of(certificate.serial_number) == revoked
    with pytest.raises(KeyUnavailable):
        authority.revoke(12345)


def test_answers_are_cached_and_renewed_before_they_age(authority: CertificateAuthority, time: Time) -> None:
    certificate = signing(authority)
    responder = OCSPResponder(authority, validity=timedelta(minutes=10))
    request = build_request(certificate, authority.root.certificate)
    first = responder.answer(request)
    assert responder.answer(request) is first
    time.now += timedelta(seconds=59)
    assert responder.answer(request) is first
    time.now += timedelta(seconds=1)
    second = responder.answer(request)
    assert second is not first
    assert ocsp.load_der_ocsp_response(second).this_update_utc == time()


def test_nonces_are_answered(authority: CertificateAuthority) -> None:
    request = (
        ocsp.OCSPRequestBuilder()
        .add_certificate(signing(authority), authority.root.certificate, hashes.SHA256())
        .add_extension(x509.OCSPNonce(b"0123456789abcdef"), critical=False)
        .build()
    )
    answer = ocsp.load_der_ocsp_response(OCSPResponder(authority).answer(request.public_bytes(Encoding.DER)))
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"0123456789abcdef"


def test_certificates_never_issued_are_unknown(authority: CertificateAuthority, tmp_path: Path) -> None:
    other = CertificateAuthority.load_or_create(tmp_path / "other", "DE-TEST")
    responder = OCSPResponder(authority)
    foreign = responder.answer(build_request(signing(other), other.root.certificate))
    assert ocsp.load_der_ocsp_response(foreign).response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED
    known = ocsp.load_der_ocsp_request(build_request(signing(authority), authority.root.certificate))
    unissued = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        known.issuer_name_hash, known.issuer_key_hash, 4711, known.hash_algorithm
    )
    answer = ocsp.load_der_ocsp_response(responder.answer(unissued.build().public_bytes(Encoding.DER)))
    assert answer.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    malformed = ocsp.load_der_ocsp_response(responder.answer(b"junk"))
    assert malformed.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_openssl_accepts_our_answers(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("NOT CHECKED AGAINST OPENSSL: no openssl on this machine")
    authority = CertificateAuthority.load_or_create(tmp_path / "ca", "DE-TEST")
    certificate = signing(authority)
    (tmp_path / "certificate").write_bytes(certificate.public_bytes(Encoding.PEM))
    common: list[str | Path] = [
        openssl,
        "ocsp",
        "-issuer",
        authority.directory / "root.crt",
        "-cert",
        tmp_path / "certificate",
    ]
    subprocess.run([*common, "-reqout", tmp_path / "q", "-no_nonce"], check=True, timeout=30, capture_output=True)
    for expected in ("good", "revoked"):
        (tmp_path / "r").write_bytes(OCSPResponder(authority).answer((tmp_path / "q").read_bytes()))
        result = subprocess.run(
            [*common, "-respin", tmp_path / "r", "-no_nonce", "-CAfile", authority.directory / "root.crt"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert "Response verify OK" in result.stderr
        assert f": {expected}" in result.stdout
        authority.revoke(certificate.serial_number)


async def test_over_http(authority: CertificateAuthority, time: Time) -> None:
    certificate = signing(authority)
    request = build_request(certificate, authority.root.certificate)
    async with TestClient(TestServer(build_app(authority))) as client:
        posted = await client.post("/ocsp", data=request, headers={"Content-Type": "application/ocsp-request"})
        assert posted.content_type == "application/ocsp-response"
        status(authority, certificate, await posted.read(), time())
        text = base64.b64encode(request).decode()
        got = await client.get("/ocsp/" + quote(text, safe=""))
        assert await got.read() == await posted.read()
        broken = ocsp.load_der_ocsp_response(await (await client.get("/ocsp/*")).read())
        assert broken.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
        headers = {"Content-Type": "application/timestamp-query"}
        stamped = await client.post("/tsa", data=build_timestamp_request(b"x" * 64), headers=headers)
        assert stamped.content_type == "application/timestamp-reply"
        assert parse_response(await stamped.read())
        assert (await client.post("/tsa", data=b"x")).status == 415
        assert (await client.post("/ocsp", data=b"x" * (1 << 17))).status == 413
        assert (await client.post("/issue", data=b"")).status == 404
        assert await (await client.get("/healthz")).json() == {"status": "ok"}


def test_the_approval_names_the_responder(authority: CertificateAuthority) -> None:
    approved = authority.approved_ca(OCSP_URL)
    assert isinstance(approved, ApprovedCA)
    assert approved.ocsp_urls == (OCSP_URL,)
    assert approved.ocsp_responders == (authority.ocsp.certificate_der,)
    assert authority.approved_tsa("http://tsa").certificate == authority.time_stamping.certificate_der
    assert isinstance(build_app(authority), web.Application)
