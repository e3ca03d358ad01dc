"""Answers of the provider's gateway whose signature doesn't hold, and what the client's gateway says of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.exchange.signer import signed_parts
from gateway.messages.transport import HashChain
from tests.conformance.answer_cases import honest_but, soap_rogue
from tests.conformance.situations import AT_CONSUMER
from tests.conformance.stage import Case, Do, Stage, with_another_digest
from tests.conformance.words import SOAP, Row
from tests.gateway.exchange.rogue import Signed, forged, sign, sign_classic, status_of
from tests.gateway.exchange.test_soap_peers import answered
from tests.gateway.exchange.town import ROGUE
from trust.hashchain import build_message_chain
from trust.keys import SoftwareKey
from trust.testca.authority import CertificateAuthority


def _resigned(status: Callable[[Stage], bytes], *, tls_key: bool = False) -> Do:
    def change(stage: Stage, honest: Signed) -> Signed:
        rogue = stage.pair.rogue
        key = rogue.authentication if tls_key else rogue.signing
        return replace(honest, signature=sign(key, honest.message, honest.body, status(stage)))

    return honest_but(change)


def _by_another(stage: Stage, honest: Signed) -> Signed:
    city = stage.peer.city
    own = status_of(city.authority, city.signing)
    return replace(honest, signature=sign(city.signing, honest.message, honest.body, own))


def _out_of_date(stage: Stage, honest: Signed) -> Signed:
    """Signed with a certificate that has lapsed."""
    key, authority = ec.generate_private_key(ec.SECP256R1()), stage.pair.authority
    issued = authority.issue_signing(
        key.public_key(), ROGUE.member, member_name="x", server_code="ss1", validity=timedelta(seconds=-60)
    )
    own = SoftwareKey(key, issued)
    return replace(honest, signature=sign(own, honest.message, honest.body, status_of(authority, own)))


def _chained(change: Callable[[Signed, HashChain], Signed]) -> Do:
    """In the form of X-Road 7, and then spoilt."""

    def make(stage: Stage, honest: Signed) -> Signed:
        rogue = stage.pair.rogue
        own = status_of(rogue.authority, rogue.signing)
        document, chain = sign_classic(rogue.signing, honest.message, honest.body, own)
        assert chain is not None
        return change(replace(honest, signature=document, hash_chain=chain), chain)

    return honest_but(make)


def _by_a_stranger(stage: Stage, honest: Signed) -> Signed:
    """Signed with the right name, from an authority that the instance doesn't approve."""
    own = status_of(stage.pair.authority, stage.pair.rogue.signing)
    key = ec.generate_private_key(ec.SECP256R1())
    with TemporaryDirectory() as folder:
        other = CertificateAuthority.load_or_create(Path(folder) / "ca", "DE-TEST")
        issued = other.issue_signing(key.public_key(), ROGUE.member, member_name="Falschspiel", server_code="ss1")
    return replace(honest, signature=sign(SoftwareKey(key, issued), honest.message, honest.body, own))


CASES: list[Case] = [
    *(
        AT_CONSUMER.case(Row.SIGNATURE_OF_ANSWERS, what, f"signature_verification.{leaf}", do)
        for what, leaf, do in (
            (
                "the body was changed",
                "invalid_signature_value",
                honest_but(lambda _, honest: replace(honest, body=b'{"saldo":1}')),
            ),
            ("the body was left out", "invalid_reference", honest_but(lambda _, honest: replace(honest, body=b""))),
            (
                "no signature that can be read",
                "malformed_signature",
                honest_but(lambda _, honest: replace(honest, signature=b"<a/>")),
            ),
            (
                "a signature that isn't XML",
                "invalid_xml",
                honest_but(lambda _, honest: replace(honest, signature=b"<a>")),
            ),
            ("signed by another member", "incorrect_certificate", honest_but(_by_another)),
            ("a certificate that has expired", "cert_validity_time", honest_but(_out_of_date)),
            (
                "a hash chain, and another body",
                "malformed_signature.invalid_hash_chain",
                _chained(lambda s, _: replace(s, body=s.body + b" ")),
            ),
            (
                "a hash chain that states another digest",
                "malformed_signature.invalid_hash_chain_ref",
                _chained(lambda s, chain: replace(s, hash_chain=with_another_digest(chain))),
            ),
            (
                "a hash chain that can't be read",
                "malformed_signature.malformed_hash_chain",
                _chained(lambda s, chain: replace(s, hash_chain=HashChain(chain.result, b"<a/>"))),
            ),
            (
                "a hash chain without the body",
                "malformed_signature.hashchain_unused_inputs",
                _chained(
                    lambda s, _: replace(s, hash_chain=HashChain(*build_message_chain(signed_parts(s.message, b""))))
                ),
            ),
            (
                "a hash chain to a body that isn't there",
                "malformed_signature.invalid_reference",
                _chained(lambda s, _: replace(s, body=b"")),
            ),
            (
                "signed under an authority that isn't approved",
                "cannot_create_cert_path.internal_error",
                honest_but(_by_a_stranger),
            ),
            ("an OCSP answer that can't be read", "malformed_signature", _resigned(lambda _: b"gut")),
            (
                "an OCSP answer that nobody may give",
                "invalid_cert_path.incorrect_validation_info",
                _resigned(lambda s: forged(status_of(s.pair.authority, s.pair.rogue.signing))),
            ),
            (
                "another certificate's OCSP answer",
                "invalid_cert_path.cert_validation",
                _resigned(lambda s: status_of(s.pair.authority, s.pair.rogue.authentication)),
            ),
        )
    ),
    AT_CONSUMER.case(
        Row.SIGNATURE_OF_ANSWERS,
        "the message was changed",
        "signature_verification.invalid_signature_value",
        soap_rogue(lambda s, m, d: answered(s.pair, m, d, sent=m.response("<antwort>43</antwort>").encode())),
        SOAP,
    ),
]
