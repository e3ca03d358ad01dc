"""Services of the tests that know nothing of this road: a SOAP service with attachments, and a REST service."""

from __future__ import annotations

import email
import email.policy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.http_service import serving

NAMESPACE = "urn:muster:belege"
_BOUNDARY = "antwort-grenze"


@dataclass(frozen=True)
class Received:
    """A request as the service got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for known, value in self.headers if known.lower() == name.lower()]


@dataclass
class Services:
    """Both services on one port of loopback."""

    server: ThreadingHTTPServer
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def services() -> Iterator[Services]:
    """The services, within the block."""
    with serving(_Handler) as server:
        found = Services(server)
        server.services = found  # type: ignore[attr-defined]
        yield found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "musterserver/1.0"

    def _answer(self) -> None:
        body = self._body()
        received = Received(self.command, self.path, list(self.headers.items()), body)
        self.server.services.received.append(received)  # type: ignore[attr-defined]
        if self.path.startswith("/soap"):
            self._soap(body)
        else:
            self._rest(received)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_TRACE = _answer  # noqa: N815 - the server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # -- SOAP: counts the attachments and sends them back, the last first

    def _soap(self, body: bytes) -> None:
        kind = self.headers["Content-Type"]
        if not kind.startswith("multipart/related"):
            self._say(200, {"Content-Type": "text/xml; charset=utf-8"}, _response(body, 0))
            return
        message = email.message_from_bytes(
            b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
        )
        root, *files = message.iter_parts()  # type: ignore[attr-defined]
        parts = [
            b"Content-Type: text/xml; charset=utf-8\r\nContent-ID: <antwort>\r\n\r\n"
            + _response(root.get_payload(decode=True), len(files))
        ]
        for file in reversed(files):
            data = file.get_payload(decode=True)
            head = f"Content-Type: application/pdf\r\nContent-ID: {file['Content-ID']}\r\n"
            parts.append(f"{head}Content-Transfer-Encoding: binary\r\n\r\n".encode() + data)
        whole = b"".join(b"--" + _BOUNDARY.encode() + b"\r\n" + part + b"\r\n" for part in parts)
        kind = f'multipart/related; type="text/xml"; start="<antwort>"; boundary="{_BOUNDARY}"'
        self._say(200, {"Content-Type": kind}, whole + b"--" + _BOUNDARY.encode() + b"--\r\n")

    # -- REST

    def _rest(self, received: Received) -> None:
        what, _, argument = received.target.partition("?")[0].removeprefix("/rest/").partition("/")
        if what == "status":
            self._say(int(argument), {"Content-Type": "application/problem+json"}, b'{"title":"Muster"}')
        elif what == "redirect":
            self._say(302, {"Location": "/rest/anderswo?x=1"}, b"")
        elif what == "belege" and received.body:
            kind = received.values("Content-Type")[0]
            self._say(201, {"Content-Type": kind, "X-Eigenes": "bleibt", "Set-Cookie": "a=b"}, received.body)
        else:
            told = {"method": self.command, "target": received.target, "headers": received.headers}
            self._say(200, {"Content-Type": "application/json", "Keep-Alive": "timeout=9"}, json.dumps(told).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        pass


def _response(request: bytes, count: int) -> bytes:
    """The request's header, and the answer: as services written for X-Road do it."""
    answer = (
        f'<b:pruefeBelegeResponse xmlns:b="{NAMESPACE}"><b:anzahl>{count}</b:anzahl></b:pruefeBelegeResponse>'
    ).encode()
    return re.sub(rb"(<[\w-]+:Body[^>]*>).*(</[\w-]+:Body>)", rb"\1" + answer + rb"\2", request, flags=re.DOTALL)
