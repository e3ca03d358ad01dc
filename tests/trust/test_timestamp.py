"""Time-stamp tokens (RFC 3161): ours and others', before our verifier, another library and openssl."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import pytest
import rfc3161_client
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import timestamp_asn1 as tsp
from trust.errors import TimestampInvalid
from trust.identifiers import MemberId
from trust.parameters import PROFILE_BASIC, ApprovedTSA
from trust.testca import CertificateAuthority, profiles
from trust.testca.authority import KeyPair
from trust.testca.time_stamping import TimeStampingAuthority
from trust.timestamp import add_certificate, build_request, parse_response, signer_of, verify_token
from trust.timestamp_asn1 import OID

# The machine's day: OpenSSL stamps with the machine's time.
NOW = datetime.now(UTC).replace(microsecond=250_000)
DIGEST = hashlib.sha512(b"message").digest()


@dataclass
class Stamping:
    ca: CertificateAuthority
    authority: TimeStampingAuthority

    @property
    def certificate(self) -> bytes:
        return self.ca.time_stamping.certificate_der

    @cached_property
    def one_token(self) -> bytes:
        """The same token each time it is asked for, as Hypothesis needs it."""
        return self.token()

    def token(self, request: bytes | None = None) -> bytes:
        return parse_response(self.authority.answer(request or build_request(DIGEST)))


@pytest.fixture(scope="module")
def stamping(tmp_path_factory: pytest.TempPathFactory) -> Stamping:
    ca = CertificateAuthority.load_or_create(tmp_path_factory.mktemp("ca"), "DE-TEST", clock=lambda: NOW)
    return Stamping(ca, TimeStampingAuthority(ca.time_stamping, ca.clock))


def test_a_token_holds(stamping: Stamping) -> None:
    token = stamping.token()
    stamp = verify_token(token, digest=DIGEST, tsa_certificate=stamping.certificate, at=NOW)
    assert (stamp.time, stamp.digest, stamp.token) == (NOW, DIGEST, token)
    assert stamp.tsa_certificate == stamping.certificate


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_other_digests_and_nonces(stamping: Stamping, name: str) -> None:
    digest = hashlib.new(name, b"x").digest()
    token = stamping.token(build_request(digest, digest_name=name, nonce=77, certificate_requested=True))
    stamp = verify_token(token, digest=digest, digest_name=name, nonce=77, tsa_certificate=stamping.certificate, at=NOW)
    assert stamp.time == NOW
    with pytest.raises(TimestampInvalid, match="another request"):
        verify_token(token, digest=digest, digest_name=name, nonce=78, tsa_certificate=stamping.certificate, at=NOW)


def test_the_certificate_is_added_once(stamping: Stamping) -> None:
    bare = stamping.token()
    assert stamping.certificate not in bare
    full = add_certificate(bare, stamping.certificate)
    assert stamping.certificate in full
    assert add_certificate(full, stamping.certificate) == full
    both = add_certificate(full, stamping.ca.root.certificate_der)
    for token in (full, both):
        assert verify_token(token, digest=DIGEST, tsa_certificate=stamping.certificate, at=NOW).time == NOW


def test_the_signer_is_found_among_the_approved(stamping: Stamping) -> None:
    wanted = ApprovedTSA("b", "http://b", stamping.certificate)
    other = ApprovedTSA("a", "http://a", stamping.ca.root.certificate_der)
    assert signer_of(stamping.token(), [other, wanted]) == wanted
    with pytest.raises(TimestampInvalid):
        signer_of(stamping.token(), [other])


def test_our_requests_are_those_of_rfc3161_client(stamping: Stamping) -> None:
    theirs = rfc3161_client.TimestampRequestBuilder().data(b"message").nonce(nonce=False).build()
    assert build_request(DIGEST, certificate_requested=True) == theirs.as_bytes()
    # X-Road leaves certReq out: DER leaves a default out.
    assert (
        build_request(DIGEST)
        == theirs.as_bytes()[:1] + bytes([len(build_request(DIGEST)) - 2]) + build_request(DIGEST)[2:]
    )


def test_rfc3161_client_accepts_our_answers(stamping: Stamping) -> None:
    request = rfc3161_client.TimestampRequestBuilder().data(b"message").build()
    response = rfc3161_client.decode_timestamp_response(stamping.authority.answer(request.as_bytes()))
    verifier = rfc3161_client.VerifierBuilder(
        tsa_certificate=stamping.ca.time_stamping.certificate,
        roots=[stamping.ca.root.certificate],
        nonce=request.nonce,
    ).build()
    assert verifier.verify_message(response, b"message")


def openssl() -> str:
    found = shutil.which("openssl")
    if found is None:
        pytest.skip("NOT CHECKED AGAINST OPENSSL: no openssl on this machine")
    return found


@pytest.mark.parametrize("certificate_requested", [True, False])
def test_openssl_accepts_our_answers(stamping: Stamping, tmp_path: Path, certificate_requested: bool) -> None:
    query, reply = tmp_path / "query", tmp_path / "reply"
    query.write_bytes(build_request(DIGEST, nonce=5, certificate_requested=certificate_requested))
    reply.write_bytes(stamping.authority.answer(query.read_bytes()))
    directory = stamping.ca.directory
    result = subprocess.run(
        [openssl(), "ts", "-verify", "-queryfile", query, "-in", reply, "-CAfile", directory / "root.crt",
         "-untrusted", directory / "tsa.crt", "-attime", str(int(NOW.timestamp()))],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "Verification: OK" in result.stdout, result.stderr


@pytest.mark.parametrize("identifier", ["sha1", "sha256", "sha512"])
def test_we_accept_the_answers_of_openssl(stamping: Stamping, tmp_path: Path, identifier: str) -> None:
    """Another implementation's tokens: SHA-1 certificate identifiers, accuracy, a name for the authority."""
    directory = stamping.ca.directory
    (tmp_path / "serial").write_text("0A\n")
    (tmp_path / "ts.cnf").write_text(
        f"[tsa]\ndefault_tsa = t\n[t]\nserial = {tmp_path}/serial\ncrypto_device = builtin\n"
        f"signer_cert = {directory}/tsa.crt\nsigner_key = {directory}/tsa.key\nsigner_digest = sha512\n"
        "default_policy = 1.2.3.4\ndigests = sha256, sha512\naccuracy = secs:1, millisecs:5, microsecs:7\n"
        f"ordering = yes\ntsa_name = yes\ness_cert_id_chain = no\ness_cert_id_alg = {identifier}\n"
    )
    request = tmp_path / "query"
    request.write_bytes(build_request(DIGEST))
    for extra in ([], ["-chain", str(directory / "root.crt")]):
        result = subprocess.run(
            [openssl(), "ts", "-reply", "-config", tmp_path / "ts.cnf", "-queryfile", request, "-out", tmp_path / "r",
             *extra],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        token = parse_response((tmp_path / "r").read_bytes())
        at = datetime.now(UTC)
        stamp = verify_token(token, digest=DIGEST, tsa_certificate=stamping.certificate, at=at)
        assert abs(stamp.time - at) < timedelta(minutes=1)
        assert stamp.policy == "1.2.3.4"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"digest": hashlib.sha512(b"other").digest()}, "something else"),
        ({"digest": DIGEST[:32], "digest_name": "sha256"}, "something else"),
        ({"nonce": 1}, "another request"),
        ({"at": NOW - timedelta(hours=1)}, "future"),
        ({"tsa_certificate": b"no certificate"}, "can't be read"),
    ],
)
def test_a_token_that_does_not_fit_is_refused(stamping: Stamping, options: dict[str, object], match: str) -> None:
    expected: dict[str, object] = {"digest": DIGEST, "tsa_certificate": stamping.certificate, "at": NOW, **options}
    with pytest.raises(TimestampInvalid, match=match):
        verify_token(stamping.token(), **expected)  # type: ignore[arg-type]


def test_another_authority_is_refused(stamping: Stamping, tmp_path: Path) -> None:
    other = CertificateAuthority.load_or_create(tmp_path, "DE-TEST", clock=lambda: NOW)
    with pytest.raises(TimestampInvalid, match="another signer"):
        verify_token(stamping.token(), digest=DIGEST, tsa_certificate=other.time_stamping.certificate_der, at=NOW)


def reissued(stamping: Stamping, template: profiles.Template, key: ec.EllipticCurvePrivateKey | None = None) -> KeyPair:
    """The authority's certificate again: same names and serial number, another key or other extensions."""
    old = stamping.ca.time_stamping
    certificate = profiles.build_certificate(
        profiles.Template(old.certificate.subject, template.extensions),
        public_key=(key or old.key).public_key(),
        issuer=old.certificate.issuer,
        issuer_key=stamping.ca.root.key,
        serial_number=old.certificate.serial_number,
        validity=(NOW - timedelta(days=2), NOW + timedelta(days=1)),
    )
    return KeyPair(key or old.key, certificate)


def test_the_certificate_must_be_the_very_one(stamping: Stamping) -> None:
    other = reissued(stamping, profiles.time_stamping_template("x"))
    with pytest.raises(TimestampInvalid, match="names another certificate"):
        verify_token(stamping.token(), digest=DIGEST, tsa_certificate=other.certificate_der, at=NOW)


def test_a_certificate_for_other_uses_is_refused(stamping: Stamping) -> None:
    member = MemberId("DE-TEST", "GOV", "X")
    gateways = profiles.authentication_template(member, "X", "x", "localhost", ["localhost"], profile=PROFILE_BASIC)
    for template in (profiles.ocsp_responder_template("x"), gateways):
        pair = reissued(stamping, template)
        token = parse_response(TimeStampingAuthority(pair, lambda: NOW).answer(build_request(DIGEST)))
        with pytest.raises(TimestampInvalid, match="time-stamping"):
            verify_token(token, digest=DIGEST, tsa_certificate=pair.certificate_der, at=NOW)


def test_a_token_outside_its_signers_validity_is_refused(stamping: Stamping) -> None:
    late = NOW + timedelta(days=4000)
    token = parse_response(TimeStampingAuthority(stamping.ca.time_stamping, lambda: late).answer(build_request(DIGEST)))
    with pytest.raises(TimestampInvalid, match="validity"):
        verify_token(token, digest=DIGEST, tsa_certificate=stamping.certificate, at=late)


def changed(token: bytes, change: Callable[[tsp.ContentInfo, tsp.SignerInfo], None]) -> bytes:
    info = asn1.decode_der(tsp.ContentInfo, token)
    (signer,) = info.content.signers.as_list()
    change(info, signer)
    if info.content.signers.as_list():
        info.content.signers = asn1.SetOf([signer])
    return asn1.encode_der(info)


def other_time(info: tsp.ContentInfo, _: tsp.SignerInfo) -> None:
    stamped = asn1.decode_der(tsp.TSTInfo, info.content.content.content)
    stamped.generated = asn1.GeneralizedTime(NOW - timedelta(days=1))
    info.content.content.content = asn1.encode_der(stamped)


def without(kind: OID) -> Callable[[tsp.ContentInfo, tsp.SignerInfo], None]:
    def change(_: tsp.ContentInfo, signer: tsp.SignerInfo) -> None:
        signer.signed_attributes = asn1.SetOf([a for a in signer.signed_attributes.as_list() if a.type != kind])

    return change


def twice(_: tsp.ContentInfo, signer: tsp.SignerInfo) -> None:
    attributes = signer.signed_attributes.as_list()
    signer.signed_attributes = asn1.SetOf([*attributes, attributes[0]])


def set_field(name: str, value: object) -> Callable[[tsp.ContentInfo, tsp.SignerInfo], None]:
    def change(_: tsp.ContentInfo, signer: tsp.SignerInfo) -> None:
        setattr(signer, name, value)

    return change


def no_signer(info: tsp.ContentInfo, _: tsp.SignerInfo) -> None:
    info.content.signers = asn1.SetOf([])


def other_content_type(info: tsp.ContentInfo, _: tsp.SignerInfo) -> None:
    info.content.content.content_type = OID("1.2.840.113549.1.7.1")


@pytest.mark.parametrize(
    "change",
    [
        other_time,
        without(tsp.CONTENT_TYPE),
        without(tsp.MESSAGE_DIGEST),
        without(tsp.SIGNING_CERTIFICATE_V2),
        twice,
        no_signer,
        other_content_type,
        set_field("signature", b""),
        set_field("signature", b"\x30\x06\x02\x01\x01\x02\x01\x01"),
        set_field("signature_algorithm", tsp.AlgorithmIdentifier(algorithm=OID("1.2.840.10045.4.1"), parameters=None)),
        set_field(
            "signature_algorithm", tsp.AlgorithmIdentifier(algorithm=OID("1.2.840.113549.1.1.13"), parameters=None)
        ),
        set_field(
            "signature_algorithm", tsp.AlgorithmIdentifier(algorithm=OID("1.2.840.10045.4.3.2"), parameters=None)
        ),
        set_field("digest_algorithm", tsp.AlgorithmIdentifier(algorithm=tsp.SHA256, parameters=None)),
        set_field("digest_algorithm", tsp.AlgorithmIdentifier(algorithm=OID("1.3.14.3.2.26"), parameters=None)),
        set_field("signer", tsp.IssuerAndSerialNumber(issuer=x509.Name([]), serial_number=1)),
    ],
)
def test_an_altered_token_is_refused(
    stamping: Stamping, change: Callable[[tsp.ContentInfo, tsp.SignerInfo], None]
) -> None:
    token = stamping.token()
    assert changed(token, lambda *_: None) == token
    with pytest.raises(TimestampInvalid):
        verify_token(changed(token, change), digest=DIGEST, tsa_certificate=stamping.certificate, at=NOW)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_change_of_bytes_passes_unnoticed(stamping: Stamping, data: st.DataObject) -> None:
    token = bytearray(stamping.one_token)
    for _ in range(data.draw(st.integers(1, 3))):
        token[data.draw(st.integers(0, len(token) - 1))] = data.draw(st.integers(0, 255))
    try:
        stamp = verify_token(bytes(token), digest=DIGEST, tsa_certificate=stamping.certificate, at=NOW)
    except TimestampInvalid:
        return
    assert (stamp.time, stamp.digest) == (NOW, DIGEST)


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=200))
def test_noise_only_raises_our_error(noise: bytes) -> None:
    for read in (parse_response, lambda data: signer_of(data, []), lambda data: add_certificate(data, b"\x30\x00")):
        with pytest.raises(TimestampInvalid):
            read(noise)


@pytest.mark.parametrize(
    ("request_der", "bit"),
    [(b"junk", 5), (build_request(b"short"), 0), (b"", 5)],
)
def test_the_authority_refuses(stamping: Stamping, request_der: bytes, bit: int) -> None:
    answer = stamping.authority.answer(request_der)
    refusal = asn1.decode_der(tsp.TimeStampRefusal, answer)
    assert refusal.status.status == 2
    assert refusal.status.failure is not None
    assert refusal.status.failure.as_bytes() == bytes([0x80 >> bit])
    with pytest.raises(TimestampInvalid) as refused:
        parse_response(answer)
    assert refused.value.code == "mlog.timestamp_non_granted_response"


def test_the_authority_refuses_foreign_policies(stamping: Stamping) -> None:
    request = asn1.decode_der(tsp.TimeStampReq, build_request(DIGEST))
    request.policy = OID("1.2.3")
    with pytest.raises(TimestampInvalid):
        stamping.token(asn1.encode_der(request))
