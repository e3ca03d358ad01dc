"""The login form of the demo's issuer: the page, and the token that ties a form to the browser it was shown to.

No script, one inline style named by its hash; the password is the demo's own and stands on the page. What is done with
an answer is `issuer`'s.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import jinja2
from aiohttp import web

from gateway.city.citizens import DemoCitizen

_COOKIE: Final = "datenweg_issuer_form"
_CARRIED: Final = (
    "client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge",
    "code_challenge_method", "acr_values", "prompt", "ui_locales",
)  # fmt: skip


class ForeignForm(Exception):
    """A form comes back from another browser than it was shown to. The sender's fault: show them one of their own."""


class LoginForm:
    """The form of one issuer."""

    def __init__(self, *, issuer: str, citizens: Sequence[DemoCitizen], password: str, secret: bytes) -> None:
        self._issuer = issuer
        self._citizens = citizens
        self._password = password
        self._secret = secret
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("gateway.city"), autoescape=True, undefined=jinja2.StrictUndefined
        )

    def require_own_browser(self, request: web.Request, stated: str) -> None:
        """Raises ForeignForm unless the form that says `stated` was shown to the browser that sends it."""
        if not hmac.compare_digest(self._token(request.cookies.get(_COOKIE, "")), stated.encode()):
            raise ForeignForm

    def answer(
        self,
        request: web.Request,
        query: Mapping[str, str],
        *,
        problem: str = "",
        status: int = 200,
        retry_after: int = 0,
    ) -> web.Response:
        """The page. `query` is the checked authorization request that it carries on; `problem` names what was wrong."""
        browser = request.cookies.get(_COOKIE) or secrets.token_urlsafe(24)
        wanted = query.get("ui_locales", "").split() or [request.headers.get("Accept-Language", "")]
        style = self._templates.get_template("issuer.css").render()
        html = self._templates.get_template("issuer_login.html").render(
            language="en" if wanted[0][:2].lower() == "en" else "de",
            action=urlsplit(self._issuer).path.rstrip("/") + "/authorize",
            fields={name: query[name] for name in _CARRIED if name in query},
            form=self._token(browser).decode(),
            citizens=self._citizens,
            password=self._password,
            problem=problem,
            retry_after=retry_after,
            client=query["client_id"],
            style=style,
        )
        answer = web.Response(text=html, content_type="text/html", status=status)
        answer.headers["Content-Security-Policy"] = _policy(style, back=query["redirect_uri"])
        if retry_after:
            answer.headers["Retry-After"] = str(retry_after)
        secure = self._issuer.startswith("https://")
        answer.set_cookie(_COOKIE, browser, httponly=True, samesite="Strict", secure=secure, path="/")
        return answer

    def _token(self, browser: str) -> bytes:
        return hmac.new(self._secret, b"form\0" + browser.encode(), hashlib.sha256).hexdigest().encode()


def _policy(style: str, *, back: str) -> str:
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    party = urlsplit(back)
    # form-action names the relying party too: browsers check it on the redirect that follows the form.
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; frame-ancestors 'none'; base-uri 'none'; "
        f"form-action 'self' {party.scheme}://{party.netloc}"
    )
