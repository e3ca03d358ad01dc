"""TLS between gateways.

Mutual, with authentication certificates, TLS 1.2 at least and 1.3 where both can (PR-MESSTRANSP 2.1).

Host names are not checked, as in X-Road: who the peer is follows from the certificate's hash in the global
configuration, which `peers` and `provider` check, with path, usage and status, before a byte of a message is sent or
read. Where we are called, OpenSSL checks the chain up to the approved authorities during the handshake already, so that
strangers get no further. Where we call, it checks only that the peer holds its certificate's key: its rules for a web
server's certificate refuse authentication certificates that are for clientAuth alone.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from gateway.exchange.tls_pins import leave_client_certificates_to_us
from gateway.exchange.tls_purpose import leave_client_usage_to_us
from trust.keys import SoftwareKey
from trust.keystore import load_into_tls

# TLS 1.2 suites with forward secrecy and authenticated encryption; those of TLS 1.3 all have both.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
# X-Road's own list (PR-MESSTRANSP 2.1), last in order: a security server offers no others. Between two of ours TLS 1.3
# is chosen.
XROAD_CIPHERS: Final = "ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:DHE-RSA-AES256-SHA256"
_PEER_CIPHERS: Final = f"{_CIPHERS}:{XROAD_CIPHERS}"
# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the standard library has no name for.
_NO_CHECK_TIME: Final = 0x200000
# For DHE where we answer: OpenSSL offers it only with a group. RFC 7919 appendix A.2, which Java's TLS knows too.
_GROUP: Final = Path(__file__).with_name("ffdhe3072.pem")


def server_context(key: SoftwareKey, authorities: Sequence[bytes], *, modern: bool = False) -> ssl.SSLContext:
    """The message transport's listening side: demands a client certificate of an approved authority (DER).

    `modern`: TLS 1.3 and nothing older.
    """
    leave_client_usage_to_us()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    # An approved intermediate authority is a trust anchor too; its root need not be known.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trust_authorities(context, authorities)
    _prepare(context, key, modern=modern)
    context.load_dh_params(str(_GROUP))
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    return context


def client_context(key: SoftwareKey, *, modern: bool = False) -> ssl.SSLContext:
    """The message transport's calling side: presents our certificate.

    Only for connections that a PeerConnector hands out: it verifies the peer's certificate (PR-MESSTRANSP 2.1: after
    the handshake).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _prepare(context, key, modern=modern)
    return context


def choosing_context(first: ssl.SSLContext, current: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """`first`, made to hand each new connection to the context that is `current` then: a listening port keeps the
    context that it was opened with, a certificate's roll-over must not close it.
    """

    def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = current()

    first.sni_callback = choose
    return first


def client_port_context(key: SoftwareKey, certificates: Iterable[bytes]) -> ssl.SSLContext:
    """The clients' side: our certificate is pinned by clients; theirs are asked for, and must be one of these (DER).

    X-Road pins both ways instead of asking an authority (UG-SS: information system certificates), and goes by the pin
    when a certificate has expired. A client without a certificate connects, and is refused later if its subsystem must
    show one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    context.options |= ssl.OP_NO_RENEGOTIATION
    trust_authorities(context, certificates)
    leave_client_certificates_to_us(context)
    load_into_tls(context, key)
    return context


def trust_authorities(context: ssl.SSLContext, authorities: Iterable[bytes]) -> None:
    """Adds authorities (DER) that a new configuration approves, or certificates that a new client pins.

    One that it approves no longer stays known to OpenSSL until a restart; what its certificates sign is refused all
    the same, since each peer certificate is verified against the configuration in force.
    """
    for authority in authorities:
        context.load_verify_locations(cadata=authority)


def _prepare(context: ssl.SSLContext, key: SoftwareKey, *, modern: bool) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if modern else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_PEER_CIPHERS)
    load_into_tls(context, key)
