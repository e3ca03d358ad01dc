"""Where an issuer's metadata are, and what its words for identity levels mean to us.

OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3, eIDAS (Regulation 910/2014, Article 8).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from gateway.messages.headers import IdentityLevel, UnknownIdentityLevel

_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"
_EIDAS: Final = "http://eidas.europa.eu/LoA/"


def metadata_addresses(issuer: str) -> tuple[str, ...]:
    """The places of an issuer's metadata, in the order in which they are tried."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    # OpenID appends to the issuer, RFC 8414 section 3.1 puts it between host and path; both may serve either document.
    found = (f"{issuer.rstrip('/')}{_OPENID}", f"{origin}{_OAUTH}{path}", f"{origin}{_OPENID}{path}")
    return tuple(dict.fromkeys(found))


def level_of(acr: object, levels: Mapping[str, str]) -> IdentityLevel:
    """The identity level of an `acr` value: by the operator's table `levels`, else by its own word.

    Raises UnknownIdentityLevel, for `none` too: a login that proves nothing is no login.
    """
    if not isinstance(acr, str):
        raise UnknownIdentityLevel
    level = IdentityLevel.from_word(levels.get(acr, acr))
    if level is IdentityLevel.NONE:
        raise UnknownIdentityLevel
    return level


def acr_values(minimum: IdentityLevel, levels: Mapping[str, str], supported: Collection[str] = ()) -> str:
    """What to ask an issuer for, so that a login proves at least `minimum`: its own words, the lowest first.

    `supported`: its `acr_values_supported`, if it says; then nothing else is asked for, unless that leaves nothing.
    """
    wanted = [level for level in IdentityLevel if level >= minimum and level is not IdentityLevel.NONE]
    names: list[str] = []
    for level in wanted:
        own = [acr for acr, word in levels.items() if word == level.word]
        spellings = own or [level.word, _EIDAS + level.word]
        known = [acr for acr in spellings if acr in supported]
        names += known[:1] or (own or [level.word])[:1]
    offered = [name for name in names if name in supported]
    return " ".join(offered or names)
