"""What the API's answers share: ETags (RFC 9110 section 8.8.3) and pages of a list with a cursor."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from aiohttp import web

from gateway.citizen.errors import InvalidRequest

_One = TypeVar("_One")
_MAX_CURSOR: Final = 500
_MAX_TAGS: Final = 2_000


def answer(
    request: web.Request,
    document: Mapping[str, Any],
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A JSON answer; to GET with an ETag, and 304 without a body where the caller has it already."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    found = web.Response(body=body, status=status, content_type=content_type, charset="utf-8", headers=headers)
    if request.method not in ("GET", "HEAD") or status != 200:
        return found
    # Who asks is part of it: no answer of one person's is ever another's, whatever a cache on the way does.
    found.headers["Vary"] = "Authorization, Cookie, X-Datenweg-Representing"
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    found.headers["ETag"] = tag
    # The caller may keep it, asks again each time, and nobody else keeps it.
    found.headers["Cache-Control"] = "private, no-cache"
    if _matches(request.headers.get("If-None-Match", ""), tag):
        unchanged = ("ETag", "Vary", "Cache-Control")
        return web.Response(status=304, headers={name: found.headers[name] for name in unchanged})
    return found


def _matches(stated: str, tag: str) -> bool:
    """RFC 9110 section 13.1.2, by the weak comparison."""
    listed = [one.strip().removeprefix("W/") for one in stated[:_MAX_TAGS].split(",")]
    return "*" in listed or tag in listed


def page(
    items: Sequence[_One], place: Callable[[_One], tuple[int, str]], *, limit: int, cursor: str | None
) -> tuple[Sequence[_One], str | None]:
    """`limit` of `items` after `cursor`, and the cursor of what follows. Raises InvalidRequest.

    `place` tells the order: smaller comes first, and no two items have the same. A cursor names the place of the last
    item that was given, so that what comes or goes meanwhile neither repeats nor skips any other.
    """
    ordered = sorted(items, key=place)
    if cursor is not None:
        after = _parse_cursor(cursor)
        ordered = [item for item in ordered if place(item) > after]
    rest = ordered[:limit]
    return rest, _format_cursor(place(rest[-1])) if len(ordered) > limit else None


def _format_cursor(place: tuple[int, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def _parse_cursor(cursor: str) -> tuple[int, str]:
    try:
        if len(cursor) > _MAX_CURSOR:
            raise ValueError
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise InvalidRequest("cursor") from None
    match found:
        case [int(number), str(name)] if not isinstance(number, bool):
            return number, name
        case _:
            raise InvalidRequest("cursor")
