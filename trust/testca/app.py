"""The test authority over HTTP: OCSP (RFC 6960 appendix A), time stamps (RFC 3161 3.4). It issues nothing here."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import Final

from aiohttp import web

from trust.testca.authority import CertificateAuthority, require_test_instance
from trust.testca.ocsp_responder import OCSPResponder
from trust.testca.time_stamping import TimeStampingAuthority

_MAX_REQUEST: Final = 64 << 10

RESPONDER: Final = web.AppKey("responder", OCSPResponder)
TIME_STAMPING: Final = web.AppKey("time_stamping", TimeStampingAuthority)


def build_app(authority: CertificateAuthority, *, ocsp_validity: timedelta = timedelta(minutes=10)) -> web.Application:
    """`POST /ocsp`, `GET /ocsp/<base64>`, `POST /tsa`, `GET /healthz`. Raises NotATestInstance."""
    require_test_instance(authority.instance)
    app = web.Application(client_max_size=_MAX_REQUEST)
    app[RESPONDER] = OCSPResponder(authority, validity=ocsp_validity)
    app[TIME_STAMPING] = TimeStampingAuthority(authority.time_stamping, authority.clock)
    app.router.add_post("/ocsp", _ocsp)
    app.router.add_get("/ocsp/{request:.+}", _ocsp_by_get)
    app.router.add_post("/tsa", _time_stamp)
    app.router.add_get("/healthz", _health)
    return app


async def _ocsp(request: web.Request) -> web.Response:
    return _ocsp_response(request.app[RESPONDER].answer(await request.read()))


async def _ocsp_by_get(request: web.Request) -> web.Response:
    try:
        # Standard base64, percent-encoded once; clients are careless with the padding.
        text = request.match_info["request"]
        body = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        body = b""
    return _ocsp_response(request.app[RESPONDER].answer(body))


def _ocsp_response(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/ocsp-response")


async def _time_stamp(request: web.Request) -> web.Response:
    if request.content_type != "application/timestamp-query":
        raise web.HTTPUnsupportedMediaType
    body = request.app[TIME_STAMPING].answer(await request.read())
    return web.Response(body=body, content_type="application/timestamp-reply")


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})
