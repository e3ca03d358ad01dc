"""What another gateway must be able to: its version, and TLS 1.3 unless it is known to be an X-Road security server.

PR-MESSTRANSP 2.1 and 2.3. Who the other gateway is, is for others to verify.
"""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from gateway.messages.faults import Fault

PROXY_VERSION_HEADER: Final = "x-proxy-version"
# Up to three numbers; what comes after them (a snapshot, a distribution) doesn't count.
_VERSION: Final = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))?(?![0-9])")


def require_version(sent: str | None, minimum: str | None) -> None:
    """Raises Fault `client_proxy_version_not_supported` if the peer is older than `minimum`, or doesn't say."""
    if minimum is None:
        return
    version = _numbers(sent or "")
    if version is None or version < (_numbers(minimum) or ()):
        raise Fault("server.serverproxy.client_proxy_version_not_supported", f"at least {minimum}")


def _numbers(text: str) -> tuple[int, ...] | None:
    found = _VERSION.match(text.strip())
    return None if found is None else tuple(int(number or 0) for number in found.groups())


def require_modern_tls(request: web.BaseRequest) -> None:
    """Raises Fault `ssl_authentication_failed` unless the connection is TLS 1.3."""
    tls = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    if tls is None or tls.version() != "TLSv1.3":
        raise Fault("server.serverproxy.ssl_authentication_failed", "this gateway demands TLS 1.3")
