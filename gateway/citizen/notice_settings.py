"""How notices leave this application: the mail server, the push services, how often at most."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.settings import GatewaySettings
from trust.keystore import read_secret


@dataclass(frozen=True, slots=True)
class NoticeSettings:
    """Without `smtp_host` there is no e-mail, without `push_contact` no web push."""

    smtp_host: str | None = None
    smtp_port: int = 587
    smtp_user: str | None = None
    smtp_password: str | None = None
    mail_from: str = ""
    # Mail goes without TLS: for a relay on this machine, and for tests.
    insecure_plain_smtp: bool = False
    # RFC 8292 section 2.1: whom a push service may turn to (mailto: or https:).
    push_contact: str | None = None
    # The push services of the browsers in use: an endpoint of another host is refused, whatever a browser says.
    push_hosts: tuple[str, ...] = ()
    # Push services at private addresses: for an instance without internet, and for tests.
    insecure_private_push_services: bool = False
    # At most one message per person and channel in this time; what happens meanwhile goes into the next.
    digest_ms: int = 3_600_000

    @property
    def by_mail(self) -> bool:
        return self.smtp_host is not None

    @property
    def by_push(self) -> bool:
        return self.push_contact is not None


def notice_settings(settings: GatewaySettings) -> NoticeSettings:
    """The gateway's settings about notices."""
    password_file = settings.citizen_smtp_password_file
    return NoticeSettings(
        smtp_host=settings.citizen_smtp_host,
        smtp_port=settings.citizen_smtp_port,
        smtp_user=settings.citizen_smtp_user,
        smtp_password=None if password_file is None else read_secret(file=password_file).strip(),
        mail_from=settings.citizen_mail_from or "",
        insecure_plain_smtp=settings.insecure_plain_smtp,
        push_contact=settings.citizen_push_contact,
        push_hosts=settings.citizen_push_hosts,
        insecure_private_push_services=settings.insecure_private_push_services,
        digest_ms=int(settings.citizen_notice_digest_seconds * 1000),
    )
