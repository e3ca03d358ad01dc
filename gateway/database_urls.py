"""Whether somebody on the way to a database could read along: what its URL says of hosts and TLS.

The PostgreSQL driver's own default (`prefer`) goes on in the clear when the server, or whoever stands before it, offers
no TLS, and checks nobody's certificate. Only `verify-full` and `verify-ca` are TLS here. As with libpq, PGHOST and
PGSSLMODE stand in for what the URL leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

_VERIFIED: Final = ("verify-full", "verify-ca")


def unprotected_hosts(url: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The hosts that a database is reached at over TCP without verified TLS; none for a file or a socket."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Nothing is reached with it: who opens it says what is wrong.
        return ()
    if parsed.get_backend_name() != "postgresql":
        return ()
    if (parsed.query.get("ssl") or environment.get("PGSSLMODE")) in _VERIFIED:
        return ()
    asked = parsed.query.get("host", ())
    stated = [*([parsed.host] if parsed.host else ()), *((asked,) if isinstance(asked, str) else asked)]
    hosts = [host for text in stated or [environment.get("PGHOST", "")] for host in text.split(",")]
    return tuple(_without_port(host) for host in hosts if host and not host.startswith("/"))


def _without_port(host: str) -> str:
    return host.partition(":")[0] if host.count(":") == 1 else host
