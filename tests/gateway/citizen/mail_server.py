"""A mail server and a push service of our own, on loopback, with a certificate that the tests trust."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


@dataclass
class Authority:
    """Two contexts: the server's, and of a client that trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def build_authority(folder: Path) -> Authority:
    """A certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "tls.pem", folder / "tls.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem, secret)
    return Authority(server, ssl.create_default_context(cafile=str(pem)))


@dataclass
class MailServer:
    """Speaks as much SMTP (RFC 5321, RFC 3207) as is needed, and remembers what came and how."""

    tls: ssl.SSLContext
    offers_tls: bool = True
    refuses: bool = False
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure = False
        try:
            await _say(writer, "220 mail.example")
            while line := (await reader.readline()).decode("ascii").strip():
                verb = line.split(" ")[0].upper()
                self.commands.append(verb)
                if verb == "EHLO":
                    await _say(
                        writer, "250-mail.example\r\n250 " + ("STARTTLS" if self.offers_tls and not secure else "HELP")
                    )
                elif verb == "STARTTLS":
                    await _say(writer, "220 go")
                    await writer.start_tls(self.tls)
                    secure = True
                elif verb == "RCPT":
                    self.recipients.append(line.partition(":")[2].strip("<> "))
                    await _say(writer, "451 later" if self.refuses else "250 ok")
                elif verb == "DATA":
                    await _say(writer, "354 go on")
                    await self._take(reader, secure)
                    await _say(writer, "250 taken")
                elif verb == "QUIT":
                    await _say(writer, "221 bye")
                    return
                else:
                    await _say(writer, "250 ok")
        except (ConnectionError, ssl.SSLError):
            return
        finally:
            writer.close()

    async def _take(self, reader: asyncio.StreamReader, secure: bool) -> None:
        lines = []
        while (line := await reader.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b"..") else line)
        self.mails.append(message_from_bytes(b"".join(lines), policy=policy.default))  # type: ignore[arg-type]
        self.encrypted.append(secure)


async def _say(writer: asyncio.StreamWriter, line: str) -> None:
    writer.write(line.encode() + b"\r\n")
    await writer.drain()


@dataclass
class PushService:
    """Takes messages for browsers, and answers as told."""

    status: int = 201
    location: str = "https://elsewhere.example/"
    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, dict(request.headers), await request.read()))
        return web.Response(status=self.status, headers={"Location": self.location})


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[tuple[MailServer, PushService, Authority]]:
    """Both, listening within the block."""
    authority = build_authority(folder)
    mail, push = MailServer(authority.server), PushService()
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(mail.handle, HOST, 0)
        mail.port = server.sockets[0].getsockname()[1]
        await stack.enter_async_context(server)
        app = web.Application()
        app.router.add_post("/{rest:.*}", push.handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, HOST, 0, ssl_context=authority.server)
        await site.start()
        push.port = runner.addresses[0][1]
        yield mail, push, authority
