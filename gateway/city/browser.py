"""A citizen's browser, as far as the journey needs one.

Cookies, redirects, forms, and the citizen API with its CSRF token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)


class PageUnexpected(Exception):
    """A page or answer is not what the journey expects. The text names the address and status, nothing personal."""


class Browser:
    """One citizen's browser at one citizen application."""

    def __init__(self, home: str) -> None:
        self._home = URL(home)
        self._csrf = ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Cookies of addresses, not only of names: the city listens on loopback.
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def log_in(self, username: str, password: str) -> str:
        """Logs in at the issuer that the application sends us to; the identity level of the session."""
        page = await self._open("GET", self._home / "login")
        form = _form(page)
        values = form.values | {"username": username, "password": password}
        await self._open("POST", page.url.join(URL(form.action)), data=values)
        me = await self.api("GET", "me")
        self._csrf = str(me["csrf"])
        return str(me["identityLevel"])

    async def api(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str) -> Any:
        """A call of the citizen API, its JSON answer. Raises PageUnexpected unless it succeeds."""
        url = (self._home / "api/v1" / path).with_query(query)
        headers = {"X-CSRF-Token": self._csrf, "Origin": str(self._home.origin())}
        async with self._opened.request(method, url, json=body, headers=headers) as answer:
            if answer.status >= 300:
                raise PageUnexpected(f"{method} {url.path} answered {answer.status}")
            return await answer.json(content_type=None)

    async def page(self, path: str) -> str:
        """The HTML of a page."""
        return (await self._open("GET", self._home / path)).text

    async def decide(self, url: str, decision: str) -> str:
        """Opens the link to a decision and decides everything that it asks: `give` or `refuse`. The page after it."""
        page = await self._open("GET", URL(url))
        form = _form(page, URL(url).path)
        values = form.values | dict.fromkeys(form.choices, decision)
        return (await self._open("POST", page.url.join(URL(form.action)), data=values)).text

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise PageUnexpected("the browser is closed")
        return self._session

    async def _open(self, method: str, url: URL, *, data: Mapping[str, str] | None = None) -> _Page:
        headers = {"Origin": str(url.origin())} if method == "POST" else {}
        async with self._opened.request(method, url, data=data, headers=headers) as answer:
            if answer.status != 200:
                raise PageUnexpected(f"{method} {url.path} answered {answer.status}")
            return _Page(answer.url, await answer.text())


class _Page:
    def __init__(self, url: URL, text: str) -> None:
        self.url = url
        self.text = text


@dataclass(slots=True)
class _Form:
    """A form of a page: where it goes, what it already says, and what is still to be chosen."""

    action: str
    values: dict[str, str] = field(default_factory=dict)
    choices: set[str] = field(default_factory=set)


class _Forms(HTMLParser):
    """All forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Form] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(_Form(given.get("action", "")))
            self._inside = True
        elif tag == "input" and self._inside and given.get("name"):
            if given.get("type") == "radio":
                self.found[-1].choices.add(given["name"])
            else:
                self.found[-1].values[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


def _form(page: _Page, action: str = "") -> _Form:
    """The page's form that goes there, or its first one. Raises PageUnexpected."""
    forms = _Forms()
    forms.feed(page.text)
    for form in forms.found:
        if form.action and action in ("", form.action):
            return form
    raise PageUnexpected(f"{page.url.path} has no form")
