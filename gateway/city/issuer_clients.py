"""Who may use the demo's issuer, and what it is told about itself. How it refuses (RFC 6749), too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.city.citizens import CITIZENS, DEMO_PASSWORD, DemoCitizen
from gateway.settings import IssuerSettings


@dataclass(frozen=True, slots=True)
class IssuerClient:
    """A relying party that the issuer knows. Without a secret it is a public client, held by PKCE alone."""

    client_id: str
    redirect_uris: tuple[str, ...]
    logout_uris: tuple[str, ...] = ()
    secret: str | None = None
    # Where its back-channel logout tokens go.
    logout_url: str | None = None

    def may_redirect_to(self, uri: str) -> bool:
        """Whether `uri` is one of its own: exactly, but for the port of an app's own machine (RFC 8252 section 7.3)."""
        if uri in self.redirect_uris:
            return True
        return self.secret is None and _without_loopback_port(uri) in self.redirect_uris


@dataclass(frozen=True, slots=True)
class DemoIssuerSettings:
    """What the issuer is told: its own URL, who may use it, and for whom its access tokens are."""

    instance: str
    issuer: str
    data_directory: Path
    clients: tuple[IssuerClient, ...]
    audience: str
    citizens: tuple[DemoCitizen, ...] = CITIZENS
    password: str = DEMO_PASSWORD
    token_seconds: int = 600

    @classmethod
    def from_settings(cls, settings: IssuerSettings, *, secret: str | None = None) -> DemoIssuerSettings:
        """The issuer of a process's settings: the pages, which may also send citizens back after logout, and an app."""
        logout = tuple(f"{urlsplit(uri).scheme}://{urlsplit(uri).netloc}/" for uri in settings.redirect_uris)
        clients = [IssuerClient(settings.client_id, settings.redirect_uris, logout, secret, settings.logout_url)]
        if settings.app_client_id is not None:
            clients.append(IssuerClient(settings.app_client_id, settings.app_redirect_uris))
        return cls(
            instance=settings.instance,
            issuer=settings.issuer_url,
            data_directory=settings.data_directory,
            clients=tuple(clients),
            audience=settings.token_audience,
            token_seconds=int(settings.token_seconds),
        )


class Refused(Exception):
    """An OAuth error (RFC 6749 sections 4.1.2.1 and 5.2).

    `redirect` says whether the client may be told by redirect.
    """

    def __init__(self, error: str, *, redirect: bool = True) -> None:
        super().__init__(error)
        self.error = error
        self.redirect = redirect


def _without_loopback_port(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "::1"):
        return ""
    host = "[::1]" if parts.hostname == "::1" else parts.hostname
    return parts._replace(netloc=host).geturl()
