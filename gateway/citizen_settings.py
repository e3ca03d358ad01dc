"""The settings of a gateway that citizens use: their tokens, pages, consents and notices.

A part of `GatewaySettings`, described with the rest in docs/operations.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from gateway.settings_base import PlacedSettings, Port, Seconds, in_data_directory, is_loopback, is_private
from trust.identifiers import InvalidIdentifier, SubsystemId, parse_subsystem_id


class CitizenSettings(PlacedSettings):
    """What citizens' tokens and pages need."""

    token_issuer: str | None = None
    token_audience: str | None = None
    # The issuer's `acr` values and what they mean here: low, substantial or high.
    token_acr_levels: Annotated[dict[str, Literal["low", "substantial", "high"]], Field(default_factory=dict)]
    # How clients name the client ports: the addresses that proofs of bound tokens (RFC 9449) are made for.
    client_urls: tuple[str, ...] = ()
    pseudonym_key_file: Path | None = None

    citizen_host: str = "127.0.0.1"
    citizen_port: Port | None = None
    citizen_url: str | None = None
    citizen_client: str | None = None
    citizen_client_id: str = "datenweg-citizen"
    citizen_client_secret_file: Path | None = None
    citizen_session_seconds: Seconds = 1800
    citizen_requests_per_minute: Annotated[int, Field(gt=0)] = 240
    citizen_require_bound_tokens: bool = False
    citizen_require_dpop_nonce: bool = False
    # In which the TLS proxy before citizen_port names the browser's address.
    citizen_proxy_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    citizen_cookie_key_file: Path = in_data_directory("keys/cookie.key")
    citizen_purposes_file: Path | None = None
    citizen_city_name: str = "Musterstadt"
    # A name of the IANA time zone database: by which clock the pages say when something happened.
    citizen_time_zone: str = "Europe/Berlin"
    citizen_log_keys: tuple[str, ...] = ()
    # Subsystems that may declare services and purposes at the consent service.
    citizen_consent_declarants: tuple[str, ...] = ()
    citizen_smtp_host: str | None = None
    citizen_smtp_port: Port = 587
    citizen_smtp_user: str | None = None
    citizen_smtp_password_file: Path | None = None
    citizen_mail_from: str | None = None
    citizen_push_contact: str | None = None
    citizen_push_hosts: tuple[str, ...] = (
        "fcm.googleapis.com",
        "updates.push.services.mozilla.com",
        "*.notify.windows.com",
        "*.push.apple.com",
    )
    citizen_notice_digest_seconds: Seconds = 3600

    insecure_plain_http_issuer: bool = False
    insecure_plain_http_citizens: bool = False
    insecure_plain_smtp: bool = False
    insecure_private_push_services: bool = False

    @property
    def citizen_consent_declarant_ids(self) -> frozenset[SubsystemId]:
        """Who may declare services and purposes at the consent service."""
        return frozenset(parse_subsystem_id(declarant) for declarant in self.citizen_consent_declarants)

    @property
    def consent_service_id(self) -> SubsystemId | None:
        """The subsystem that has the consent service; None without citizens here."""
        if self.citizen_port is None or self.citizen_client is None:
            return None
        return parse_subsystem_id(self.citizen_client)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.token_issuer is not None and (self.token_audience is None or self.pseudonym_key_file is None):
            raise ValueError("token_issuer needs token_audience and pseudonym_key_file")
        needed = (self.token_issuer, self.citizen_url, self.citizen_client, self.citizen_purposes_file)
        if self.citizen_port is not None and None in needed:
            raise ValueError("citizen_port needs token_issuer, citizen_url, citizen_client and citizen_purposes_file")
        return self

    @model_validator(mode="after")
    def _citizens_are_told(self) -> Self:
        try:
            _ = (self.citizen_consent_declarant_ids, self.consent_service_id)
        except InvalidIdentifier as error:
            raise ValueError(
                f"citizen_client and citizen_consent_declarants name INST/CLASS/MEMBER/SUBSYSTEM: {error}"
            ) from None
        if self.citizen_smtp_host is not None and not self.citizen_mail_from:
            raise ValueError("citizen_smtp_host needs citizen_mail_from, the address that mails come from")
        if self.citizen_smtp_user is not None and self.citizen_smtp_password_file is None:
            raise ValueError("citizen_smtp_user needs citizen_smtp_password_file")
        contact = self.citizen_push_contact
        if contact is not None and not contact.startswith(("mailto:", "https://")):
            raise ValueError("citizen_push_contact is a mailto: or https: address (RFC 8292 section 2.1)")
        return self

    @field_validator("citizen_time_zone")
    @classmethod
    def _known_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise ValueError("a name of the IANA time zone database is needed, such as Europe/Berlin") from None
        return name

    @model_validator(mode="after")
    def _citizens_over_tls(self) -> Self:
        """Whoever can change the issuer's keys on the way is every citizen; whoever reads a cookie is one of them."""
        if self.token_issuer and not is_private(self.token_issuer) and not self.insecure_plain_http_issuer:
            raise ValueError(
                "token_issuer is neither https nor on this machine: give its https address, or set "
                "insecure_plain_http_issuer"
            )
        if self.citizen_port is None or self.insecure_plain_http_citizens:
            return self
        if not is_loopback(self.citizen_host):
            raise ValueError(
                "citizen_host is not a loopback address and citizen_port speaks plain HTTP: put a TLS proxy on this "
                "machine before it, or set insecure_plain_http_citizens"
            )
        if self.citizen_url and not is_private(self.citizen_url):
            raise ValueError(
                "citizen_url is neither https nor on this machine: put a TLS proxy before it and give its https "
                "address, or set insecure_plain_http_citizens"
            )
        return self
