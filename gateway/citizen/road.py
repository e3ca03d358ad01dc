"""The road, as any client sees it: X-Road's REST interface (PR-REST 1.0 section 4) on our own gateway's client port.

No key of ours is involved: the gateway signs, logs and verifies. We say who asks (X-Road-Client), for which citizen
(X-Datenweg-Citizen, which the gateway turns into a pseudonym), for what and on which consent. One attempt per call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from gateway.bounded import TooLarge, read_bounded
from gateway.citizen.context import CitizenSettings
from gateway.citizen.errors import RoadDown
from gateway.citizen.json_texts import NotJSON, parse_json
from gateway.exchange.vouching import Vouchers
from gateway.messages.headers import AUDIT_RECEIPT, CITIZEN, CONSENT, PURPOSE, REPRESENTING, SUBJECT
from trust.identifiers import ServiceId

MAX_ANSWER: Final = 4 << 20
_REQUEST_ID: Final = "X-Road-Request-Id"
_ERROR: Final = "X-Road-Error"
_CONSUMER_RECEIPT: Final = "X-Datenweg-Consumer-Receipt"


@dataclass(frozen=True, slots=True)
class RoadFailure:
    """An error of the road itself, not of the service: X-Road's error JSON (PR-REST 4.5.2).

    Texts are the sender's: hostile.
    """

    code: str
    message: str
    detail: str


@dataclass(frozen=True, slots=True)
class RoadAnswer:
    """What came back: the service's answer, or the road's own failure. `data` is the body's JSON, if it is JSON."""

    status: int
    content_type: str
    body: bytes
    data: Any
    request_id: str
    receipt: str
    consumer_receipt: str
    failure: RoadFailure | None

    @property
    def good(self) -> bool:
        return self.failure is None and 200 <= self.status < 300


class RoadClient:
    """Calls services over the road in the name of the city's app. Safe for concurrent use within one event loop."""

    def __init__(
        self, http: aiohttp.ClientSession, settings: CitizenSettings, vouchers: Vouchers | None = None
    ) -> None:
        self._vouchers = vouchers
        self._http = http
        self._base = settings.road_url
        self._client = settings.client.encoded
        self._timeout = aiohttp.ClientTimeout(total=settings.road_timeout_seconds)

    async def call(
        self,
        method: str,
        service: ServiceId,
        path: Sequence[str] = (),
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        token: str | None = None,
        consent: str | None = None,
        purpose: str | None = None,
        representing: str | None = None,
        subject: str | None = None,
    ) -> RoadAnswer:
        """One exchange.

        `path` is unencoded segments below the service. `subject` is the person's pseudonym at the provider, where they
        aren't there themselves and no `token` speaks for them. Raises RoadDown when our gateway doesn't answer.
        """
        segments = "".join("/" + quote(segment, safe="") for segment in path)
        search = f"?{urlencode(query)}" if query else ""
        # Encoded here, segment by segment: a value of the citizen can't climb out of its place in the path.
        url = URL(f"{self._base}/r1/{service.encoded}{segments}{search}", encoded=True)
        headers = {"X-Road-Client": self._client, "Accept": "application/json"}
        optional = {CITIZEN: token, CONSENT: consent, PURPOSE: purpose, REPRESENTING: representing}
        optional[SUBJECT] = subject
        headers |= {name: value for name, value in optional.items() if value is not None}
        if token is not None and self._vouchers is not None:
            # The token may be bound to an app's key, whose proof was checked where the app sent it: at our own door.
            headers["DPoP"] = self._vouchers.issue(token, method, url.raw_path)
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            async with self._http.request(
                method, url, headers=headers, data=body, timeout=self._timeout, allow_redirects=False
            ) as answer:
                content = await read_bounded(answer.content, MAX_ANSWER)
                return _answer(answer, content)
        except (aiohttp.ClientError, TimeoutError, TooLarge):
            raise RoadDown("no answer") from None


def _answer(answer: aiohttp.ClientResponse, body: bytes) -> RoadAnswer:
    data: Any = None
    if answer.content_type.endswith("json"):
        try:
            data = parse_json(body)
        except NotJSON:
            data = None
    failure = None
    if _ERROR in answer.headers:
        texts = data if isinstance(data, dict) else {}
        failure = RoadFailure(
            answer.headers[_ERROR][:200], str(texts.get("message", ""))[:1000], str(texts.get("detail", ""))[:100]
        )
    return RoadAnswer(
        answer.status,
        answer.content_type,
        body,
        data,
        answer.headers.get(_REQUEST_ID, "")[:100],
        answer.headers.get(AUDIT_RECEIPT, "")[:1024],
        answer.headers.get(_CONSUMER_RECEIPT, "")[:1024],
        failure,
    )
