"""Requests of a gateway whose signature doesn't hold: refused at the provider's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.exchange.signer import signed_parts
from gateway.messages.transport import HashChain
from tests.conformance.gateway_cases import GOOD_REQUEST, gateway_told, same, soap_gateway_told
from tests.conformance.stage import Case, with_another_digest
from tests.conformance.words import Row
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.rogue import Signed, forged, sign, status_of
from tests.gateway.exchange.test_soap_peers import FILE, Sending
from tests.gateway.exchange.test_tampering import _flipped, _issued
from tests.gateway.exchange.town import CITY
from trust.hashchain import build_message_chain
from trust.keys import SoftwareKey

_SIGNATURE = "signature_verification"
_WRAPPED = f"{_SIGNATURE}.malformed_signature"
_PATH = f"{_SIGNATURE}.invalid_cert_path"
_REQUEST = Row.SIGNATURE_OF_REQUESTS


def _revoked(peer: Peer) -> SoftwareKey:
    key = _issued(peer, "signing")
    peer.pair.authority.revoke(key.certificate.serial_number)
    return key


def _expired(peer: Peer) -> SoftwareKey:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = peer.pair.authority.issue_signing(
        key.public_key(), CITY.member, member_name="Musterstadt", server_code="ss1", validity=timedelta(seconds=-60)
    )
    return SoftwareKey(key, issued)


def _chain(s: Signed, body: bytes) -> HashChain:
    return HashChain(*build_message_chain(signed_parts(s.message, body)))


def _chain_of(s: Signed) -> HashChain:
    assert s.hash_chain is not None
    return s.hash_chain


def _signature_of(peer: Peer, message: bytes) -> bytes:
    return sign(peer.city.signing, message, b"", status_of(peer.city.authority, peer.city.signing))


CASES: list[Case] = [
    gateway_told(_REQUEST, "no signature", "missing_signature", lambda _, good: good.unsigned()),
    gateway_told(
        _REQUEST,
        "the body was changed",
        f"{_SIGNATURE}.invalid_signature_value",
        lambda _, good: replace(good, body=good.body + b" "),
    ),
    gateway_told(
        _REQUEST,
        "the signature value was changed",
        f"{_SIGNATURE}.invalid_signature_value",
        lambda _, good: replace(good, signature=_flipped(good.signature)),
    ),
    gateway_told(
        _REQUEST, "the body was left out", f"{_SIGNATURE}.invalid_reference", lambda _, good: replace(good, body=b"")
    ),
    gateway_told(_REQUEST, "no signature that can be read", _WRAPPED, lambda _, good: replace(good, signature=b"<a/>")),
    gateway_told(
        _REQUEST,
        "a signature that isn't XML",
        f"{_SIGNATURE}.invalid_xml",
        lambda _, good: replace(good, signature=b"<a>"),
    ),
    gateway_told(
        _REQUEST,
        "signed by another member",
        f"{_SIGNATURE}.incorrect_certificate",
        same,
        key=lambda p: p.pair.rogue.signing,
    ),
    gateway_told(_REQUEST, "signed with a key for TLS", _WRAPPED, same, key=lambda p: p.city.authentication),
    gateway_told(
        _REQUEST,
        "signed under an authority that isn't approved",
        f"{_SIGNATURE}.cannot_create_cert_path.internal_error",
        same,
        key=lambda p: p.strangers,
        status=lambda p: status_of(p.pair.authority, p.city.signing),
    ),
    gateway_told(_REQUEST, "a revoked certificate", f"{_PATH}.cert_validation", same, key=_revoked),
    gateway_told(_REQUEST, "a certificate that has expired", f"{_SIGNATURE}.cert_validity_time", same, key=_expired),
    gateway_told(
        _REQUEST,
        "an OCSP answer that can't be read",
        _WRAPPED,
        same,
        status=lambda _: b"gut",
    ),
    gateway_told(
        _REQUEST,
        "an OCSP answer that nobody may give",
        f"{_PATH}.incorrect_validation_info",
        same,
        status=lambda p: forged(status_of(p.pair.authority, p.city.signing)),
    ),
    gateway_told(
        _REQUEST,
        "a hash chain, and another body",
        f"{_WRAPPED}.invalid_hash_chain",
        lambda _, s: replace(s, body=s.body + b" "),
        classic=True,
    ),
    gateway_told(
        _REQUEST,
        "a hash chain that states another digest",
        f"{_WRAPPED}.invalid_hash_chain_ref",
        lambda _, s: replace(s, hash_chain=with_another_digest(_chain_of(s))),
        classic=True,
    ),
    gateway_told(
        _REQUEST,
        "a hash chain that can't be read",
        f"{_WRAPPED}.malformed_hash_chain",
        lambda _, s: replace(s, hash_chain=HashChain(_chain_of(s).result, b"<a/>")),
        classic=True,
    ),
    gateway_told(
        _REQUEST,
        "a hash chain without the body",
        f"{_WRAPPED}.hashchain_unused_inputs",
        lambda _, s: replace(s, hash_chain=_chain(s, b"")),
        classic=True,
    ),
    gateway_told(
        _REQUEST,
        "a hash chain to a body that isn't there",
        f"{_WRAPPED}.invalid_reference",
        lambda _, s: replace(s, body=b""),
        classic=True,
    ),
    soap_gateway_told(
        _REQUEST,
        "attachments that weren't signed",
        f"{_SIGNATURE}.invalid_reference",
        lambda p: Sending(p, attachments=(FILE,), signature=_signature_of(p, GOOD_REQUEST)),
    ),
    soap_gateway_told(
        _REQUEST,
        "the SOAP message was changed",
        f"{_SIGNATURE}.invalid_signature_value",
        lambda p: Sending(p, GOOD_REQUEST.replace(b"EE3", b"EE4"), signature=_signature_of(p, GOOD_REQUEST)),
    ),
]
