"""The service behind both paths: takes a small body, answers with a small JSON object. Run as a process.

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


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    """The same answer to everything, once the whole request is here."""
    await request.read()
    return web.Response(body=ANSWER_BODY, headers=_HEADERS)


if __name__ == "__main__":
    serve(handle, int(sys.argv[1]))
