"""Asking time-stamping authorities over HTTP (RFC 3161 3.4), one by one until one gives a token that holds.

The codes are those of X-Road's message log (`mlog.*` since 7.8), which the operator reads: docs/errors.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import aiohttp

from trust.errors import FetchFailed, TimestampInvalid, TrustError
from trust.parameters import ApprovedTSA
from trust.timestamp import (
    MAX_TOKEN_BYTES,
    REFUSED,
    VerifiedTimestamp,
    add_certificate,
    build_request,
    parse_response,
    signer_of,
    verify_token,
)

# UG-SYSPAR: connect within 20 s, answer within 60 s.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=20)
_UNREADABLE: Final = "mlog.reading_timestamp_response_failed"


class TimestampClient:
    """Gets time stamps from the approved authorities. Use from one event loop."""

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], datetime]) -> None:
        """`clock` gives the time as aware UTC."""
        self._session = session
        self._clock = clock

    async def stamp(self, digest: bytes, authorities: Sequence[ApprovedTSA]) -> VerifiedTimestamp:
        """A verified time stamp over a SHA-512 digest, with the signer's certificate in its token.

        Authorities are tried in order. Raises what the last one failed with, FetchFailed without any.
        """
        failure: TrustError = FetchFailed(
            "no time-stamping authority is approved", code="mlog.no_timestamping_provider_found"
        )
        for authority in authorities:
            try:
                return await self._stamp(digest, authority)
            except TrustError as error:
                failure = error
        raise failure

    async def _stamp(self, digest: bytes, authority: ApprovedTSA) -> VerifiedTimestamp:
        asked_at = self._clock()
        answer = await self._ask(authority.url, build_request(digest))
        with _told_as(_UNREADABLE):
            token = parse_response(answer)
        # PR-MESSTRANSP leaves the certificate out of the request; whoever reads the token later needs it (UG-SIGDOC 4).
        with _told_as("mlog.timestamp_response_object_creation_failed"):
            token = add_certificate(token, authority.certificate)
        with _told_as("mlog.tsp_certificate_not_found"):
            signer_of(token, (authority,))
        with _told_as("mlog.timestamp_response_validation_failed"):
            return verify_token(
                token, digest=digest, tsa_certificate=authority.certificate, at=self._clock(), asked_at=asked_at
            )

    async def _ask(self, url: str, request: bytes) -> bytes:
        headers = {"Content-Type": "application/timestamp-query"}
        try:
            async with self._session.post(
                url, data=request, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise FetchFailed(
                        "a time-stamping authority answered with an error", code="mlog.timestamping_non_ok_response"
                    )
                if response.content_type != "application/timestamp-reply":
                    raise TimestampInvalid("a time-stamping authority answered with something else", code=_UNREADABLE)
                body = bytearray()
                async for chunk in response.content.iter_chunked(16 << 10):
                    body += chunk
                    if len(body) > MAX_TOKEN_BYTES:
                        raise TimestampInvalid("a time-stamping authority sent too much", code=_UNREADABLE)
                return bytes(body)
        except TimeoutError as error:
            raise FetchFailed(
                "a time-stamping authority did not answer in time", code="mlog.timestamp_request_timed_out"
            ) from error
        except ValueError as error:
            # aiohttp's InvalidURL is one.
            raise FetchFailed(
                "a time-stamping authority's address is not valid", code="mlog.malformed_timestamp_server_url"
            ) from error
        except aiohttp.ClientError as error:
            raise FetchFailed(
                "a time-stamping authority is not reachable", code="mlog.timestamp_provider_connection_failed"
            ) from error


@contextmanager
def _told_as(code: str) -> Iterator[None]:
    """What doesn't hold within has this code; a refusal keeps its own."""
    try:
        yield
    except TimestampInvalid as error:
        if error.code == REFUSED:
            raise
        raise TimestampInvalid(str(error), code=code, hint=error.hint) from error
