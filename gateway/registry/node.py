"""A registry as its operator sees it: set up once, changed through `state`, published through `publish`.

On disk (in the settings' data folder): the state, the signing keys, the anchors that gateways begin with, and the
number of the last generation, so that numbers grow over restarts and clock changes. Several nodes of one registry share
the state (`registry_file` on storage of all); each has its own address, key and number.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from gateway.clock import Clock
from gateway.logging import describe_error, get_logger
from gateway.registry.keys import RegistryKeys
from gateway.registry.publication import Publication, build_publication, next_sequence
from gateway.registry.state import RegistryState
from gateway.settings import RegistrySettings
from trust.durable import write_atomically
from trust.errors import ConfigurationInvalid
from trust.globalconf import (
    EXTERNAL_PATH,
    INTERNAL_PATH,
    Anchor,
    AnchorSource,
    OptionalParts,
    PrivateParameters,
    build_anchor,
    parse_anchor,
)
from trust.identifiers import ClientId, parse_client_id
from trust.keys import SigningKey
from trust.parameters import ConfigurationSource, SharedParameters

__all__ = ["EXTERNAL_PATH", "INTERNAL_PATH", "Registry", "Version"]

# The state's, and name, time and size of each federated anchor.
Version = tuple[tuple[int, int], tuple[tuple[str, int, int], ...]]


class Registry:
    """One instance's registry. Publishing belongs to one process; changing the state may happen in several."""

    def __init__(self, settings: RegistrySettings, clock: Clock) -> None:
        """Sets the registry up in its data folder if it isn't yet. Raises KeyUnavailable, ConfigurationInvalid."""
        self._clock = clock
        self._settings = settings
        self._url = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
        self._number_file = settings.data_directory / "generation"
        self.state = RegistryState(settings.registry_file, settings.instance)
        self.keys = RegistryKeys(settings)
        self.keys.ensure(clock.now())
        if not self.state.exists:
            settings.registry_file.parent.mkdir(parents=True, exist_ok=True)
            self.state.create(SharedParameters(settings.instance, sources=(self._source(),)))
        self.announce()

    @property
    def key(self) -> SigningKey:
        """The key that signs."""
        return self.keys.active

    @property
    def anchor_file(self) -> Path:
        """The anchor for gateways of this instance."""
        return self._settings.data_directory / "configuration-anchor.xml"

    @property
    def external_anchor_file(self) -> Path:
        """The anchor for registries of federated instances."""
        return self._settings.data_directory / "external-configuration-anchor.xml"

    def announce(self) -> None:
        """Names this node's address and certificates in the state and in the anchors, if they aren't yet."""
        mine = self._source()

        def change(parameters: SharedParameters) -> SharedParameters:
            # Whoever has our key is us at an earlier address.
            others = tuple(
                source
                for source in parameters.sources
                if source.address != mine.address
                and not {*source.internal_certificates} & {*mine.internal_certificates}
            )
            return replace(parameters, sources=(*others, mine))

        if mine not in self._readable_sources():
            self.state.update(change)
        for file, path in ((self.anchor_file, INTERNAL_PATH), (self.external_anchor_file, EXTERNAL_PATH)):
            write_atomically(file, build_anchor(self.anchor(path)))

    def anchor(self, path: str = INTERNAL_PATH) -> Anchor:
        """The anchor of this registry's internal or external configuration, with all its nodes."""
        scheme = urlsplit(self._url).scheme
        sources = [AnchorSource(self._url + path, self.keys.certificates)]
        mine = urlsplit(self._url).netloc
        for source in self._readable_sources():
            certificates = source.internal_certificates if path == INTERNAL_PATH else source.external_certificates
            if source.address != mine and certificates:
                sources.append(AnchorSource(f"{scheme}://{source.address}{path}", certificates))
        return Anchor(self._settings.instance, tuple(sources), self._clock.now().replace(microsecond=0))

    def version(self) -> Version:
        """Changes whenever what is to be published does: the state, or the anchors of federated instances."""
        anchors = ((file.name, file.stat()) for file in self._anchor_files())
        return self.state.version(), tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in anchors)

    async def publish(self) -> Publication:
        """A new generation of the state as it is now. Its number is on disk when this returns."""
        return await asyncio.to_thread(self._publish, self._clock.now())

    def _publish(self, at: datetime) -> Publication:
        parameters = self.state.read()
        sequence = next_sequence(at, self._last_number())
        publication = build_publication(
            parameters,
            self._private_parameters(parameters),
            self.keys.active,
            sequence=sequence,
            at=at,
            validity=timedelta(seconds=self._settings.validity_seconds),
            boundaries=(secrets.token_hex(16), secrets.token_hex(16)),
            optional=self._optional_parts(),
        )
        # Before anyone sees it: after a crash the next generation must not be older than one that was served.
        write_atomically(self._number_file, str(sequence).encode())
        if set(self.keys.certificates) <= {c for source in parameters.sources for c in source.internal_certificates}:
            self.keys.note_announced(at)
        return publication

    def _last_number(self) -> int:
        try:
            return int(self._number_file.read_text("ascii"))
        except FileNotFoundError:
            return 0
        except (OSError, ValueError):
            raise ConfigurationInvalid(
                "the number of the last generation can't be read", hint=f"look at {self._number_file}"
            ) from None

    def _private_parameters(self, parameters: SharedParameters) -> PrivateParameters | None:
        """Who takes management requests, which the format asks for, and whom the instance is federated with.

        Without the setting the owner of the first gateway stands in for the provider of management services, and there
        is nothing to say before one is registered.
        """
        settings = self._settings
        provider: ClientId
        if settings.management_provider is not None:
            provider = parse_client_id(settings.management_provider)
        elif parameters.security_servers:
            provider = parameters.security_servers[0].id.owner
        else:
            return None
        # The same at every node: what they publish differs in nothing but signature and number.
        first = parameters.sources[0].address if parameters.sources else urlsplit(self._url).netloc
        address = settings.management_url or f"{urlsplit(self._url).scheme}://{first}/managementservice/"
        return PrivateParameters(
            parameters.instance,
            address,
            provider,
            time_stamping_interval_seconds=settings.time_stamping_interval_seconds,
            anchors=self._federated_anchors(),
        )

    def _federated_anchors(self) -> tuple[Anchor, ...]:
        """The external anchors of other instances that the operator has put into the folder.

        One that can't be read is left out: the own instance never depends on another.
        """
        found = []
        for file in self._anchor_files():
            try:
                found.append(parse_anchor(file.read_bytes()))
            except (ConfigurationInvalid, OSError) as error:
                get_logger().error(
                    "a federated instance's anchor can't be read",
                    path=file.name,
                    hint="put its registry's external-configuration-anchor.xml in its place",
                    **describe_error(error),
                )
        return tuple(found)

    def _anchor_files(self) -> list[Path]:
        return sorted(self._settings.federation_directory.glob("*.xml"))

    def _optional_parts(self) -> OptionalParts:
        settings = self._settings
        return OptionalParts(
            monitoring_client=None
            if settings.monitoring_client is None
            else parse_client_id(settings.monitoring_client),
            ocsp_fetch_interval_seconds=settings.ocsp_fetch_interval_seconds,
            verify_next_update=settings.verify_next_update,
        )

    def _source(self) -> ConfigurationSource:
        certificates = self.keys.certificates
        return ConfigurationSource(urlsplit(self._url).netloc, certificates, certificates)

    def _readable_sources(self) -> tuple[ConfigurationSource, ...]:
        return self.state.read().sources
