"""Following the configurations of federated instances, each with its own anchor, sources, expiry and folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import aiohttp

from trust.configuration_client import ConfigurationClient
from trust.configuration_store import remove_other_instances
from trust.errors import ConfigurationInvalid, TrustError
from trust.federation import AllowedFederations, federated_anchors
from trust.globalconf import SHARED_PARAMETERS, Anchor, VerifiedConfiguration

OnFailure = Callable[[str, TrustError], None]


class FederationClient:
    """Keeps the configurations of other instances current. Use from one event loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        directory: Path,
        clock: Callable[[], datetime],
        allowed: AllowedFederations,
    ) -> None:
        """`directory` is the one that also holds the own instance's configuration."""
        self._session = session
        self._directory = directory
        self._clock = clock
        self._allowed = allowed
        self._clients: dict[str, tuple[Anchor, ConfigurationClient]] = {}

    @property
    def clients(self) -> Mapping[str, ConfigurationClient]:
        """The client of each federated instance."""
        return {instance: client for instance, (_, client) in self._clients.items()}

    async def refresh(
        self, own: VerifiedConfiguration, on_failure: OnFailure | None = None
    ) -> tuple[VerifiedConfiguration, ...]:
        """The others' configurations as far as they are to be had; one that can't be refreshed stays until it expires.

        `on_failure` is told of each that failed, with its instance. Nothing is raised for another's fault.
        """
        anchors = {anchor.instance: anchor for anchor in federated_anchors(own, self._allowed)}
        for instance, (anchor, _) in list(self._clients.items()):
            if anchors.get(instance) != anchor:
                del self._clients[instance]
        for instance, anchor in anchors.items():
            if instance not in self._clients:
                client = ConfigurationClient(
                    self._session, anchor, self._directory, self._clock, parts=(SHARED_PARAMETERS,)
                )
                self._clients[instance] = (anchor, client)
        remove_other_instances(self._directory, {own.instance, *anchors})
        found = [await self._one(instance, on_failure) for instance in anchors]
        return tuple(configuration for configuration in found if configuration is not None)

    async def _one(self, instance: str, on_failure: OnFailure | None) -> VerifiedConfiguration | None:
        client = self._clients[instance][1]
        try:
            return await client.refresh()
        except TrustError as error:
            if on_failure is not None:
                on_failure(instance, error)
        except OSError as error:
            if on_failure is not None:
                on_failure(instance, ConfigurationInvalid(f"the configuration can't be kept: {error.strerror}"))
        return client.current
