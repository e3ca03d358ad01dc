"""The service behind both paths: what it answers follows from the end of the path. Run as a process.

A small JSON object; `/mib`: 1 MiB; `/stream/N`: N bytes; `/soap`: a SOAP message. It takes any body first.

python -m bench.backend PORT
"""

from __future__ import annotations

import json
import sys
from typing import Final

from aiohttp import web

from bench.plain import serve

REQUEST_BODY: Final = json.dumps(
    {
        "account": "DE02100100109307118603",
        "period": {"from": "2026-10-01", "to": "2026-10-31"},
        "fields": ["balance", "currency", "booked"],
        "reference": "8f0e5c1a-3f0f-4c55-9c1a-7d0f4b8e2a61",
        "language": "de",
    }
).encode()
ANSWER_BODY: Final = json.dumps(
    {
        "account": "DE02100100109307118603",
        "balances": [
            {"type": "closingBooked", "amount": "1284.20", "currency": "EUR", "date": "2026-10-31"},
            {"type": "interimAvailable", "amount": "1231.75", "currency": "EUR", "date": "2026-11-02"},
        ],
        "reference": "8f0e5c1a-3f0f-4c55-9c1a-7d0f4b8e2a61",
        "next": None,
    }
).encode()
_HEADERS: Final = {"Content-Type": "application/json; charset=utf-8"}


MIB: Final = 1 << 20
LARGE_BODY: Final = b"0123456789abcdef" * (MIB // 16)
SOAP_TYPE: Final = "text/xml; charset=utf-8"
_BINARY: Final = {"Content-Type": "application/octet-stream"}
_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"


def soap_message(client: str, service: str, *, response: bool) -> bytes:
    """A small SOAP message of the road; `client` and `service` are the elements within those headers."""
    name = "measureResponse" if response else "measure"
    return (
        f'<?xml version="1.0" encoding="utf-8"?>'
        f'<soapenv:Envelope xmlns:soapenv="{_ENVELOPE}" xmlns:xrd="http://x-road.eu/xsd/xroad.xsd" '
        f'xmlns:id="http://x-road.eu/xsd/identifiers"><soapenv:Header>'
        f'<xrd:client id:objectType="SUBSYSTEM">{client}</xrd:client>'
        f'<xrd:service id:objectType="SERVICE">{service}</xrd:service>'
        f"<xrd:userId>EE37702211234</xrd:userId><xrd:id>8f0e5c1a-3f0f-4c55-9c1a-7d0f4b8e2a61</xrd:id>"
        f"<xrd:protocolVersion>4.0</xrd:protocolVersion></soapenv:Header><soapenv:Body>"
        f'<m:{name} xmlns:m="urn:measure"><account>DE02100100109307118603</account></m:{name}>'
        f"</soapenv:Body></soapenv:Envelope>"
    ).encode()


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    """The answer, once the whole request is here."""
    what = request.path.rpartition("/")[2]
    if request.path == "/soap":
        body = await request.read()
        return web.Response(body=body.replace(b"m:measure", b"m:measureResponse"), headers={"Content-Type": SOAP_TYPE})
    while await request.content.readany():
        pass
    if what == "mib":
        return web.Response(body=LARGE_BODY, headers=_BINARY)
    if what.isdigit():
        return await _stream(request, int(what))
    return web.Response(body=ANSWER_BODY, headers=_HEADERS)


async def _stream(request: web.BaseRequest, size: int) -> web.StreamResponse:
    answer = web.StreamResponse(headers=_BINARY)
    answer.content_length = size
    await answer.prepare(request)
    for begin in range(0, size, MIB):
        await answer.write(LARGE_BODY[: size - begin])
    await answer.write_eof()
    return answer


if __name__ == "__main__":
    serve(handle, int(sys.argv[1]))
