"""TLS towards services: which certificate a service shows, and which the gateway shows it.

As in X-Road, a service whose certificate is verified must show one that is in the list of its subsystem's information
systems, byte for byte: the operator's pin is all the trust there is, no authority, name or validity period counts
beside it. Where verification is switched off, anything is taken. The gateway shows its internal certificate to
whichever service asks for one.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import aiohttp

from gateway.exchange.connecting import TurnConnector
from trust.keys import SoftwareKey
from trust.keystore import load_into_tls

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# The certificates (DER) that a service may show; None: it may show any.
Pins = frozenset[bytes] | None

_MAX_CONTEXTS: Final = 1000


class ServiceUntrusted(aiohttp.ClientConnectionError):
    """The service is not who its subsystem says that it is. Nothing was sent to it."""


class _PinnedContext(ssl.SSLContext):
    """A context that knows whom its connections may lead to. OpenSSL proves that the other side holds the key."""

    pins: Pins = frozenset()


class ServiceContexts:
    """One context for each set of pins, so that no connection is shared by services that are verified differently."""

    def __init__(self, key: SoftwareKey | None) -> None:
        self._key = key
        self._contexts: OrderedDict[Pins, ssl.SSLContext] = OrderedDict()

    def context(self, pins: Pins) -> ssl.SSLContext:
        """The context for services that may show these certificates. Raises KeyUnavailable."""
        found = self._contexts.get(pins)
        if found is None:
            found = self._contexts[pins] = self._build(pins)
            if len(self._contexts) > _MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        return found

    def _build(self, pins: Pins) -> ssl.SSLContext:
        context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        # The connector compares what was shown with the pins, before a byte of a request is sent.
        context.verify_mode = ssl.CERT_NONE
        context.pins = pins
        if self._key is not None:
            load_into_tls(context, self._key)
        return context


class ServiceConnector(TurnConnector):
    """Hands out connections to services whose certificate is one of the pinned ones, where pins are asked for."""

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:  # noqa: ASYNC109 - the overridden method's
        connection = await super().connect(req, traces, timeout)
        try:
            _check(req, connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _check(request: ClientRequest, connection: Connection) -> None:
    if not request.is_ssl():
        return
    context = request.ssl
    if not isinstance(context, _PinnedContext):
        raise ServiceUntrusted("the request says not whom it may reach")
    if context.pins is None:
        return
    tls = None if connection.transport is None else connection.transport.get_extra_info("ssl_object")
    if tls is None or tls.getpeercert(binary_form=True) not in context.pins:
        raise ServiceUntrusted("the service's certificate is none of its subsystem's")
