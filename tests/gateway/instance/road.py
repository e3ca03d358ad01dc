"""An instance that runs as its user runs it: a topology file, a process, and the JSON that it prints; and a backend."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.http_service import serving

ROOT = Path(__file__).parents[3]
_START_SECONDS = 40
_STOP_SECONDS = 25


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Backend:
    """A service of the tests: REST echoes what it got, SOAP repeats the request's header with another body."""

    server: ThreadingHTTPServer
    calls: list[tuple[str, str]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@contextmanager
def backend(context: ssl.SSLContext | None = None) -> Iterator[Backend]:
    """The service on a free port of loopback, over TLS with `context`."""
    with serving(_Handler, context=context) as server:
        found = Backend(server)
        server.backend = found  # type: ignore[attr-defined]
        yield found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.backend.calls.append((self.command, self.path))  # type: ignore[attr-defined]
        if self.headers.get("Content-Type", "").startswith("text/xml"):
            kind, said = "text/xml; charset=utf-8", _soap(body)
        else:
            kind, said = "application/json", json.dumps({"method": self.command, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        pass


def _soap(request: bytes) -> bytes:
    return re.sub(
        rb"(<\w+:Body>).*(</\w+:Body>)",
        lambda m: (
            m[1]
            + re.sub(rb"<p:(\w+)(.*)</p:\w+>", rb"<p:\1Response\2</p:\1Response>", m[0][len(m[1]) : -len(m[2])])
            + m[2]
        ),
        request,
        flags=re.DOTALL,
    )


@dataclass
class Road:
    """A running instance."""

    process: subprocess.Popen[bytes]
    document: dict[str, Any]

    def gateway(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.document["gateways"][name]
        return found

    def call(
        self,
        method: str,
        path: str,
        *,
        client: str | None = None,
        gateway: str = "ss1",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        tls: bool = False,
        certificate: tuple[str, str] | None = None,
    ) -> Answer:
        """One request to a gateway's client port; over TLS its certificate is pinned, as a client of X-Road does."""
        described = self.gateway(gateway)
        url = urlsplit(described["client_https_url" if tls else "client_http_url"])
        assert url.hostname is not None
        connection: http.client.HTTPConnection
        if tls:
            context = ssl.create_default_context(cadata=described["certificates"]["client_https"])
            if certificate is not None:
                context.load_cert_chain(*certificate)
            connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=20)
        else:
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
        sent = dict(headers or {})
        if client is not None:
            sent["X-Road-Client"] = client
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def soap(self, message: bytes, **options: Any) -> Answer:
        """A SOAP request."""
        return self.call("POST", "/", body=message, headers={"Content-Type": "text/xml; charset=utf-8"}, **options)

    def stop(self) -> tuple[int, str]:
        """SIGTERM: the exit code and what it said on standard error."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=_STOP_SECONDS)
        return self.process.returncode, said.decode()


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "gateway.cli", "instance", *words]


@contextmanager
def road(topology: Path, *words: str) -> Iterator[Road]:
    """The instance, answering; stopped at the end, if the test hasn't."""
    process = subprocess.Popen(
        command("--topology", str(topology), *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    # The document is all of standard output, and its last line is a closing brace alone.
    lines: list[bytes] = []
    watchdog = threading.Timer(_START_SECONDS, process.kill)
    watchdog.start()
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line)
            if line == b"}\n":
                break
        watchdog.cancel()
        if not lines or lines[-1] != b"}\n":
            _, said = process.communicate(timeout=_STOP_SECONDS)
            raise AssertionError(f"the instance did not start: {said.decode()}")
        found = Road(process, json.loads(b"".join(lines)))
        yield found
        if process.poll() is None:
            code, said = found.stop()
            assert code == 0, said
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.kill()
            process.communicate()
