"""The three institutions by kind, for whoever starts them from a command line. Modules load when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Protocol, cast

from aiohttp import web

from adapters.kit.description import ServiceDescription, load_description
from adapters.kit.settings import AdapterSettings, SandboxSettings


class Kind(StrEnum):
    """The institutions that have an adapter."""

    OZG = "ozg"
    STADTWERKE = "stadtwerke"
    SPARKASSE = "sparkasse"


class _AdapterPackage(Protocol):
    def build_app(self, settings: AdapterSettings) -> web.Application: ...


class _SandboxPackage(Protocol):
    BASE_PATH: str

    def build_app(self, settings: SandboxSettings) -> web.Application: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """How to start one institution."""

    kind: Kind

    def build_adapter(self, settings: AdapterSettings) -> web.Application:
        """The adapter's application."""
        return cast(_AdapterPackage, import_module(f"adapters.{self.kind}")).build_app(settings)

    def build_sandbox(self, settings: SandboxSettings) -> web.Application:
        """The sandbox's application."""
        return self._sandbox.build_app(settings)

    def backend_url(self, sandbox_origin: str) -> str:
        """What `AdapterSettings.backend_url` must be for a sandbox that listens at `sandbox_origin`."""
        return sandbox_origin.rstrip("/") + self._sandbox.BASE_PATH

    def description(self) -> ServiceDescription:
        """The service description to register."""
        return load_description(f"adapters.{self.kind}")

    @property
    def _sandbox(self) -> _SandboxPackage:
        return cast(_SandboxPackage, import_module(f"adapters.{self.kind}.sandbox"))
