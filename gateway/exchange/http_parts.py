"""What the client port and the peer port have in common: reading a body within bounds, who is at the other end, and
what is said of failures.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiohttp import StreamReader, web
from structlog.typing import FilteringBoundLogger

from gateway.bounded import BudgetSpent, TooLarge
from gateway.exchange.deadlines import Deadline
from gateway.exchange.spool import SpoolUnwritable
from gateway.logging import describe_error
from gateway.messages.faults import Fault

_BODY_SECONDS: Final = 60.0
_Body = TypeVar("_Body")


async def read_request(
    request: web.BaseRequest,
    limit: int,
    read: Callable[[StreamReader, Deadline], Awaitable[_Body]],
    *,
    prefix: str,
    rate: int,
) -> _Body:
    """The request's body as `read` takes it. Raises Fault `<prefix>.body_too_large`, `.overloaded` and others.

    `prefix` is `client` at the client port, `server.serverproxy` at the peer port; `rate` is how many bytes a second a
    large body has to come by.
    """
    overloaded = "server.clientproxy.overloaded" if prefix == "client" else f"{prefix}.overloaded"
    broken = "client.bad_request" if prefix == "client" else f"{prefix}.io_error"
    if (request.content_length or 0) > limit:
        raise Fault(f"{prefix}.body_too_large", f"at most {limit} bytes")
    if request.headers.get("Expect", "").lower() == "100-continue":
        # RFC 9110 section 10.1.1: whoever asks first is waiting for the word.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        if request.content.is_eof():
            # All of it is here already, with the head: nobody is left to be waited for.
            return await read(request.content, Deadline(_BODY_SECONDS, rate))
        async with Deadline(_BODY_SECONDS, rate) as deadline:
            return await read(request.content, deadline)
    except TooLarge:
        raise Fault(f"{prefix}.body_too_large", f"at most {limit} bytes") from None
    except (BudgetSpent, SpoolUnwritable):
        raise Fault(overloaded, "no room for the body") from None
    except TimeoutError:
        raise Fault(broken, "the body did not arrive in time") from None
    except (OSError, web.HTTPException, web.RequestPayloadError):
        raise Fault(broken, "the body broke off") from None


def peer_certificate(request: web.BaseRequest) -> bytes | None:
    """The certificate (DER) that the other end of the TLS connection has shown, if any."""
    tls = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    certificate: bytes | None = None if tls is None else tls.getpeercert(binary_form=True)
    return certificate


def text_of(raw: bytes) -> str:
    """A header's bytes as text.

    UTF-8 if they are, else ISO 8859-1, which RFC 9110 section 5.5 leaves to old senders.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def unforeseen(log: FilteringBoundLogger, error: Exception, *, prefix: str, exchange: str, step: str) -> Fault:
    """`<prefix>.internal_error`, for an exception that nobody had in mind: logged by type and place, told to nobody."""
    log.error("unforeseen failure", exchange=exchange, step=step, **describe_error(error))
    return Fault(f"{prefix}.internal_error")


def loggable_detail(fault: Fault) -> str:
    """The fault's id for the log line: ours, or the other hop's if it is an id and not somebody's text."""
    try:
        return str(uuid.UUID(fault.detail))
    except ValueError:
        return ""
