"""A registry as its operator sees it: set up once, changed through `state`, published through `publish`.

On disk (in the settings' data folder): the state, the signing key, the anchors that gateways begin with, and the
number of the last generation, so that numbers grow over restarts and clock changes.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.clock import Clock
from gateway.registry.publication import Publication, build_publication, next_sequence
from gateway.registry.state import RegistryState
from gateway.settings import RegistrySettings
from trust.durable import write_atomically
from trust.errors import ConfigurationInvalid
from trust.globalconf import Anchor, AnchorSource, PrivateParameters, build_anchor
from trust.keys import SigningKey
from trust.keystore import load_pkcs12, read_secret, save_pkcs12, write_private
from trust.parameters import ConfigurationSource, SharedParameters

INTERNAL_PATH: Final = "/internalconf"
EXTERNAL_PATH: Final = "/externalconf"
_KEY_DAYS: Final = 3650


class Registry:
    """One instance's registry. Publishing belongs to one process; changing the state may happen in several."""

    def __init__(self, settings: RegistrySettings, clock: Clock) -> None:
        """Sets the registry up in its data folder if it isn't yet. Raises KeyUnavailable, ConfigurationInvalid."""
        self._clock = clock
        self._settings = settings
        self._url = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
        self._number_file = settings.data_directory / "generation"
        self.state = RegistryState(settings.registry_file, settings.instance)
        self.key = self._load_or_create_key()
        if not self.state.exists:
            settings.registry_file.parent.mkdir(parents=True, exist_ok=True)
            self.state.create(SharedParameters(settings.instance, sources=(self._source(),)))
        write_atomically(self.anchor_file, build_anchor(self.anchor(INTERNAL_PATH)))
        write_atomically(self.external_anchor_file, build_anchor(self.anchor(EXTERNAL_PATH)))

    @property
    def anchor_file(self) -> Path:
        """The anchor for gateways of this instance."""
        return self._settings.data_directory / "configuration-anchor.xml"

    @property
    def external_anchor_file(self) -> Path:
        """The anchor for registries of federated instances."""
        return self._settings.data_directory / "external-configuration-anchor.xml"

    def anchor(self, path: str = INTERNAL_PATH) -> Anchor:
        """The anchor of this registry's internal or external configuration."""
        source = AnchorSource(self._url + path, (self.key.certificate_der,))
        return Anchor(self._settings.instance, (source,), self._clock.now().replace(microsecond=0))

    async def publish(self) -> Publication:
        """A new generation of the state as it is now. Its number is on disk when this returns."""
        return await asyncio.to_thread(self._publish, self._clock.now())

    def _publish(self, at: datetime) -> Publication:
        parameters = self.state.read()
        sequence = next_sequence(at, self._last_number())
        publication = build_publication(
            parameters,
            self._private_parameters(parameters),
            self.key,
            sequence=sequence,
            at=at,
            validity=timedelta(seconds=self._settings.validity_seconds),
            boundaries=(secrets.token_hex(16), secrets.token_hex(16)),
        )
        # Before anyone sees it: after a crash the next generation must not be older than one that was served.
        write_atomically(self._number_file, str(sequence).encode())
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
        """Who takes management requests, which the format asks for.

        Registrations are made at the registry itself so far; the owner of the first gateway stands in, and there is
        nothing to say before one is registered.
        """
        if not parameters.security_servers:
            return None
        owner = parameters.security_servers[0].id.owner
        return PrivateParameters(parameters.instance, f"{self._url}/managementservice/", owner)

    def _source(self) -> ConfigurationSource:
        certificates = (self.key.certificate_der,)
        return ConfigurationSource(urlsplit(self._url).netloc, certificates, certificates)

    def _load_or_create_key(self) -> SigningKey:
        settings = self._settings
        if settings.signing_key_file.exists():
            return load_pkcs12(settings.signing_key_file, read_secret(file=settings.pin_file))
        for file in (settings.signing_key_file, settings.pin_file):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.data_directory.mkdir(parents=True, exist_ok=True)
        if not settings.pin_file.exists():
            write_private(settings.pin_file, secrets.token_urlsafe(24).encode())
        pin = read_secret(file=settings.pin_file)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(key, f"{settings.instance} configuration", self._clock.now())
        save_pkcs12(settings.signing_key_file, key, certificate, (), pin)
        return load_pkcs12(settings.signing_key_file, pin)


def _self_signed(key: ec.EllipticCurvePrivateKey, name: str, now: datetime) -> x509.Certificate:
    """The certificate that carries the key in anchors. The anchor vouches for it: its dates do not count."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_KEY_DAYS))
        .sign(key, hashes.SHA256())
    )
