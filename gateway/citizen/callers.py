"""Who calls the API: a citizen's own app with its token and the proof of its key, or the browser's session.

RFC 6750 section 2.1, RFC 9449 section 7. A token that is bound to a key never counts as a bearer token, and an app that
says DPoP has to have a bound one. An app's key becomes one of the person's devices when it is first seen.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.citizen.acting import act_for
from gateway.citizen.devices import DeviceRevoked
from gateway.citizen.errors import IssuerDown, RepresentationRefused, TokenRefused
from gateway.citizen.sessions import Session
from gateway.citizen.web import CITIZEN, require_csrf, require_same_site, session_of
from gateway.exchange.citizen_tokens import CitizenTokenRefused, IssuerUnavailable, NonceWanted, Presentation
from gateway.exchange.dpop import ALGORITHMS
from gateway.messages.headers import REPRESENTING

_SAFE: Final = ("GET", "HEAD")
_MAX_AGENT: Final = 500


async def caller_of(request: web.Request) -> Session:
    """Who calls. Raises NotLoggedIn, FormRefused, IssuerDown, TooManyAttempts."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "dpop"):
        return await _app(request, scheme.lower(), token.strip())
    session = await session_of(request)
    if request.method not in _SAFE:
        require_same_site(request)
        require_csrf(session, request.headers.get("X-CSRF-Token", ""))
    return session


async def _app(request: web.Request, scheme: str, token: str) -> Session:
    citizen = request.app[CITIZEN]
    settings = citizen.context.settings
    presentation = Presentation(
        method=request.method,
        # The address as clients know it, whatever Host the request named.
        urls=(settings.public_url + request.rel_url.raw_path,),
        proofs=tuple(request.headers.getall("DPoP", ())),
        check_nonce=citizen.nonces.check,
    )
    try:
        if scheme == "bearer":
            # RFC 9449 section 7.2: raises for a bound one, whatever proof comes with it.
            caller = await citizen.tokens.verify(token)
        else:
            caller = await citizen.tokens.verify_presented(token, presentation)
    except NonceWanted as wanted:
        challenge = _challenge("dpop", "use_dpop_nonce")
        raise TokenRefused(wanted.reason, challenge=challenge, nonce=wanted.nonce) from None
    except CitizenTokenRefused as refused:
        error = "invalid_dpop_proof" if refused.reason.startswith("proof ") else "invalid_token"
        raise TokenRefused(refused.reason, challenge=_challenge(scheme, error)) from None
    except IssuerUnavailable:
        raise IssuerDown("keys") from None
    if not caller.thumbprint and (scheme == "dpop" or settings.require_bound_tokens):
        raise TokenRefused("not bound", challenge=_challenge("dpop", "invalid_token"))
    person = citizen.context.person(caller.issuer, caller.subject)
    citizen.count_request(person)
    if caller.thumbprint:
        agent = request.headers.get("User-Agent", "")[:_MAX_AGENT]
        try:
            await citizen.devices.use(person, caller.thumbprint, kind="app", user_agent=agent)
        except DeviceRevoked:
            raise TokenRefused("device revoked", challenge=_challenge(scheme, "invalid_token")) from None
    expires_ms = int(caller.expires.timestamp() * 1000)
    return Session(
        caller.issuer, caller.subject, caller.name, caller.level, token, expires_ms, csrf="", device=caller.thumbprint
    )


async def acting_for(request: web.Request, session: Session, *, allowed: bool) -> Session:
    """The session, or the same for the person that the request names in X-Datenweg-Representing.

    What was chosen on the pages doesn't count here: a request of the API says for whom it is. Raises
    RepresentationRefused: for somebody whom nothing lets them act for, and where an operation allows nobody.
    """
    references = request.headers.getall(REPRESENTING, ())
    if not references:
        return session
    if not allowed or len(references) != 1:
        raise RepresentationRefused
    return await act_for(request, session, references[0])


def _challenge(scheme: str, error: str) -> str:
    if scheme == "bearer":
        return f'Bearer error="{error}"'
    return f'DPoP error="{error}", algs="{" ".join(ALGORITHMS)}"'
