"""Gateways that a test starts, stops and kills, and a registry that it holds back."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.app import Gateway, serving
from gateway.instance.settings_files import to_toml
from gateway.registry.publication import Publication
from gateway.settings import GatewaySettings
from gateway.store.model import ConnectionType
from tests.gateway.exchange.ports import HOST, ShiftedClock
from trust.identifiers import SubsystemId

_ROOT = Path(__file__).parents[3]


class RunningNode:
    """A gateway that can be stopped and started again on the same data."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.clock = ShiftedClock()
        self._stack: AsyncExitStack | None = None
        self._gateway: Gateway | None = None

    @property
    def gateway(self) -> Gateway:
        assert self._gateway is not None, "the gateway is stopped"
        return self._gateway

    @property
    def in_progress(self) -> int:
        """How many requests of clients are under way."""
        server = self.gateway.listeners[0].app
        assert isinstance(server, web.Server)
        return int(server.request_handler.__self__._in_progress)  # type: ignore[attr-defined]

    def has(self, publication: Publication) -> bool:
        """Whether this generation of the global configuration is in force here."""
        return self.gateway.node.trust.latest.configuration.directory.document == publication.internal

    def client_type(self, client: SubsystemId) -> ConnectionType | None:
        """How the gateway wants the client to connect; None when it doesn't serve it."""
        known = self.gateway.node.directory.client(client)
        return None if known is None else known.connection_type

    async def start(self) -> None:
        self._stack = AsyncExitStack()
        self._gateway = await self._stack.enter_async_context(serving(self.settings, clock=self.clock))

    async def stop(self) -> None:
        stack, self._stack, self._gateway = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()


class ProcessNode(RunningNode):
    """A gateway in a process of its own: it can be killed."""

    def __init__(self, settings: GatewaySettings) -> None:
        super().__init__(settings)
        self._file = settings.data_directory / "gateway.toml"
        self._file.write_text(to_toml(settings), "utf-8")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None, "the gateway is stopped"
        return self._process.pid

    async def start(self) -> None:
        """Starts the process; it is ready on return."""
        with (self.settings.data_directory / "gateway.log").open("ab") as output:
            command = (sys.executable, "-m", "gateway.cli", "gateway", "--config", str(self._file))
            process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output, cwd=_ROOT)
        self._process = process
        url = f"http://{HOST}:{self.settings.operations_port}/healthz"
        async with asyncio.timeout(30), aiohttp.ClientSession() as http:
            while True:
                assert process.returncode is None, "the gateway did not start"
                with suppress(aiohttp.ClientError):
                    async with http.get(url) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """SIGTERM, and waits for the end."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            async with asyncio.timeout(20):
                assert await process.wait() == (0 if number is signal.SIGTERM else -number)


class RegistryFront:
    """Stands before the registry: can hold back news, serving what it once served, or be silent."""

    def __init__(self) -> None:
        self.held: Publication | None = None
        self.silent = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.silent:
            return web.Response(status=503)
        if self.held is not None and request.path == "/internalconf":
            return web.Response(body=self.held.internal, content_type="application/octet-stream")
        answer: web.StreamResponse = await handler(request)
        return answer
