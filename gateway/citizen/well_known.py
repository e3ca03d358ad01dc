"""Tells an app what it needs to begin, from our address alone: the issuer and how tokens are presented (RFC 9728)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.citizen.api_answers import answer
from gateway.citizen.contract import BASE
from gateway.citizen.web import CITIZEN
from gateway.exchange.dpop import ALGORITHMS
from gateway.messages.headers import IdentityLevel

routes: Final = web.RouteTableDef()


@routes.get("/.well-known/oauth-protected-resource")
async def protected_resource(request: web.Request) -> web.Response:
    """RFC 9728 section 2."""
    settings = request.app[CITIZEN].context.settings
    return answer(
        request,
        {
            "resource": settings.public_url,
            "authorization_servers": [settings.issuer],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": list(ALGORITHMS),
            "dpop_bound_access_tokens_required": settings.require_bound_tokens,
            "acr_values_supported": [level.word for level in IdentityLevel if level],
            "resource_documentation": f"{settings.public_url}{BASE}/openapi.json",
        },
    )
