"""Tells citizens by e-mail and web push, in the background: together what happened together, and not too often.

A person's channel is claimed by moving its `next_ms`, so that several processes send one message, not two; at most one
in `digest_ms`, with everything that has come up meanwhile. What was read in the page is not told again. Mail goes over
STARTTLS with a checked certificate or not at all (RFC 8314), unless an insecure setting says otherwise; push messages
go to the known push services, over https, never to an address inside our own network.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError

from gateway.bounded import TooLarge, read_bounded
from gateway.citizen import tables
from gateway.citizen.background import repeating
from gateway.citizen.context import CitizenContext
from gateway.citizen.notice_channels import Channel, Choice, NoticeChannels
from gateway.citizen.notice_texts import build_code_mail, build_mail, push_content
from gateway.citizen.notices import Notice, notice_of
from gateway.citizen.sealing import SealBroken
from gateway.citizen.web_push import PushSender, Subscription, is_public_address
from gateway.logging import describe_error, get_logger

_BATCH: Final = 50
_FAILURES: Final = 10
_RETRY_MS: Final = 300_000
_SMTP_SECONDS: Final = 20
_PUSH_SECONDS: Final = aiohttp.ClientTimeout(total=15)
_IMPLICIT_TLS_PORT: Final = 465
_MAX_ANSWER: Final = 64 * 1024
_GONE: Final = (404, 410)
_log = get_logger()


class NotDelivered(Exception):
    """A message did not go out. `reason` is a fixed word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses the addresses of networks that aren't the internet's."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The public addresses of a name. Raises OSError if there are none."""
        found = [one for one in await self._resolver.resolve(host, port, family) if is_public_address(one["host"])]
        if not found:
            raise OSError("no public address")
        return found

    async def close(self) -> None:
        """Ends it."""
        await self._resolver.close()


class NoticeDelivery:
    """Sends. Safe for concurrent use; several processes may share the database.

    `tls` is for tests with a certificate authority of their own.
    """

    def __init__(self, context: CitizenContext, channels: NoticeChannels, *, tls: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._settings = context.settings.notices
        self._channels = channels
        self._tls = tls
        contact = self._settings.push_contact
        self._sender = None if contact is None else PushSender(context.pseudonym_key, contact)

    @property
    def push_key(self) -> str:
        """What browsers subscribe with; empty without web push."""
        return "" if self._sender is None else self._sender.public_key

    async def send_code(self, address: str, code: str, *, language: str) -> None:
        """The mail that shows whose address it is. Raises NotDelivered."""
        mail = build_code_mail(
            code,
            sender=self._settings.mail_from,
            to=address,
            language=language,
            city=self._context.settings.city_name,
            at_ms=self._context.clock.now_ms(),
        )
        await self._send_mail(mail)

    async def deliver_due(self) -> int:
        """Sends what is due; how many messages were tried."""
        waiting, channel = tables.notice_delivery, tables.notice_channel
        now_ms = self._context.clock.now_ms()
        query = (
            select(waiting.c.person, waiting.c.channel, channel.c.next_ms, channel.c.failures)
            .join(channel, (channel.c.person == waiting.c.person) & (channel.c.channel == waiting.c.channel))
            .where(channel.c.next_ms <= now_ms)
            .distinct()
            .limit(_BATCH)
        )
        async with self._context.engine.connect() as connection:
            due = (await connection.execute(query)).all()
        tried = 0
        for one in due:
            if await self._claim(one.person, one.channel, one.next_ms, now_ms + self._settings.digest_ms):
                tried += await self._deliver(one.person, Channel(one.channel), one.failures)
        return tried

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Within this block notices are sent as they come due."""
        if not (self._settings.by_mail or self._settings.by_push):
            yield
            return
        interval_ms = self._context.settings.push_interval_ms
        async with repeating(self.deliver_due, interval_ms=interval_ms, failure="notices not delivered"):
            yield

    async def _claim(self, person: str, channel: str, seen_ms: int, next_ms: int) -> bool:
        row = tables.notice_channel
        async with self._context.engine.begin() as connection:
            claimed = await connection.execute(
                update(row)
                .where(row.c.person == person, row.c.channel == channel, row.c.next_ms == seen_ms)
                .values(next_ms=next_ms)
            )
        return claimed.rowcount == 1

    async def _deliver(self, person: str, channel: Channel, failures: int) -> int:
        notices = await self._waiting(person, channel)
        unread = [notice for notice in notices if notice.read_ms is None]
        if not unread:
            # Read in the page before it came to this: nothing is sent, and the next one need not wait.
            await self._done(person, channel, notices, next_ms=self._context.clock.now_ms())
            return 0
        try:
            choice = (await self._channels.of(person))[channel]
            if channel is Channel.MAIL:
                await self._mail(choice, unread)
            else:
                await self._push(person, choice, unread)
        except (NotDelivered, SealBroken) as error:
            reason = error.reason if isinstance(error, NotDelivered) else "sealed"
            _log.warning("notice not delivered", code=channel.value, attempt=failures + 1, reason=reason)
            await self._failed(person, channel, notices, failures + 1)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - other parties' texts are in it, and everybody else waits behind it
            _log.error("notice not delivered", code=channel.value, attempt=failures + 1, **describe_error(error))
            await self._failed(person, channel, notices, failures + 1)
        else:
            await self._done(person, channel, notices)
        return 1

    async def _waiting(self, person: str, channel: Channel) -> list[Notice]:
        waiting, notice = tables.notice_delivery, tables.notice
        query = (
            select(notice)
            .join(waiting, waiting.c.notice == notice.c.id)
            .where(waiting.c.person == person, waiting.c.channel == channel.value)
            .order_by(notice.c.at_ms)
        )
        async with self._context.engine.connect() as connection:
            return [notice_of(row) for row in (await connection.execute(query)).mappings()]

    async def _done(
        self, person: str, channel: Channel, notices: Sequence[Notice], *, next_ms: int | None = None
    ) -> None:
        waiting, row = tables.notice_delivery, tables.notice_channel
        values = {"failures": 0} | ({} if next_ms is None else {"next_ms": next_ms})
        async with self._context.engine.begin() as connection:
            await connection.execute(
                delete(waiting).where(
                    waiting.c.channel == channel.value, waiting.c.notice.in_([notice.id for notice in notices])
                )
            )
            await connection.execute(
                update(row).where(row.c.person == person, row.c.channel == channel.value).values(values)
            )

    async def _failed(self, person: str, channel: Channel, notices: Sequence[Notice], failures: int) -> None:
        if failures >= _FAILURES:
            # They stand in the page; a way that leads nowhere isn't tried for ever.
            await self._done(person, channel, notices)
            return
        row = tables.notice_channel
        next_ms = self._context.clock.now_ms() + (_RETRY_MS << min(failures, 6))
        async with self._context.engine.begin() as connection:
            await connection.execute(
                update(row)
                .where(row.c.person == person, row.c.channel == channel.value)
                .values(failures=failures, next_ms=next_ms)
            )

    # -- e-mail ----------------------------------------------------------------------------------------------------

    async def _mail(self, choice: Choice, notices: Sequence[Notice]) -> None:
        mail = build_mail(
            notices,
            sender=self._settings.mail_from,
            to=choice.address,
            language=choice.language,
            detailed=choice.detailed,
            city=self._context.settings.city_name,
            url=self._context.settings.public_url,
            zone=self._context.settings.time_zone,
            at_ms=self._context.clock.now_ms(),
        )
        await self._send_mail(mail)

    async def _send_mail(self, mail: EmailMessage) -> None:
        if self._settings.smtp_host is None:
            raise NotDelivered("no_mail_server")
        try:
            await asyncio.to_thread(self._send_blocking, mail)
        except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
            raise NotDelivered(type(error).__name__) from None

    def _send_blocking(self, mail: EmailMessage) -> None:
        settings = self._settings
        assert settings.smtp_host is not None
        context = self._tls or ssl.create_default_context()
        server: smtplib.SMTP
        if settings.smtp_port == _IMPLICIT_TLS_PORT:
            server = smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, timeout=_SMTP_SECONDS, context=context)
        else:
            server = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=_SMTP_SECONDS)
        with server:
            if settings.smtp_port != _IMPLICIT_TLS_PORT and not settings.insecure_plain_smtp:
                # Raises when the server offers no STARTTLS: nothing goes in the clear.
                server.starttls(context=context)
            if settings.smtp_user is not None:
                server.login(settings.smtp_user, settings.smtp_password or "")
            server.send_message(mail)

    # -- web push --------------------------------------------------------------------------------------------------

    async def _push(self, person: str, choice: Choice, notices: Sequence[Notice]) -> None:
        if self._sender is None:
            raise NotDelivered("no_web_push")
        settings = self._context.settings
        content = push_content(
            notices,
            language=choice.language,
            detailed=choice.detailed,
            city=settings.city_name,
            zone=settings.time_zone,
        )
        subscriptions = await self._channels.subscriptions(person)
        reached, reasons = 0, []
        async with self._session() as http:
            for identifier, subscription in subscriptions.items():
                status = await self._send_push(http, self._sender, subscription, content)
                if status in _GONE:
                    # RFC 8030 section 7.3: the browser has ended it.
                    await self._channels.unsubscribe(person, identifier)
                elif 200 <= status < 300:
                    reached += 1
                else:
                    reasons.append(f"status_{status}")
        if not reached and reasons:
            raise NotDelivered(reasons[0])

    async def _send_push(
        self, http: aiohttp.ClientSession, sender: PushSender, subscription: Subscription, content: dict[str, str]
    ) -> int:
        host = urlsplit(subscription.endpoint).hostname or ""
        # An address in place of a name never meets the resolver.
        literal = host.replace(".", "").isdigit() or ":" in host
        if literal and not self._settings.insecure_private_push_services and not is_public_address(host):
            return 0
        message = sender.message(subscription, content, now_seconds=self._context.clock.now_ms() // 1000)
        try:
            async with http.post(
                message.url, data=message.body, headers=message.headers, allow_redirects=False, timeout=_PUSH_SECONDS
            ) as answer:
                await read_bounded(answer.content, _MAX_ANSWER)
                return answer.status
        except (aiohttp.ClientError, TimeoutError, TooLarge, OSError):
            return 0

    def _session(self) -> aiohttp.ClientSession:
        resolver = ThreadedResolver() if self._settings.insecure_private_push_services else PublicResolver()
        connector = aiohttp.TCPConnector(
            resolver=resolver, ssl=self._tls or ssl.create_default_context(), use_dns_cache=False
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
