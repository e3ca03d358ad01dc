"""The configuration anchor, where trust in an instance begins, and the private parameters that name others' anchors.

Follows PR-GCONF 2.12 sections 2.2 (anchor) and 3.2 (private parameters). An anchor reaches an operator by hand; its
hash (SHA-224) is what two people compare over the telephone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from trust import xml
from trust.errors import ConfigurationInvalid, MalformedInput
from trust.globalconf_elements import (
    IDENTIFIERS,
    XROAD,
    add_certificates,
    add_client,
    add_element,
    certificate_der,
    certificate_octets,
    child,
    children,
    client_id,
    code_text,
    integer,
    optional_text,
    text_of,
)
from trust.identifiers import ClientId

_MAX_BYTES: Final = 1 << 20
# Each is a configuration that every gateway fetches each minute.
_MAX_ANCHORS: Final = 64


@dataclass(frozen=True, slots=True)
class AnchorSource:
    """An address that publishes the configuration, and the certificates (DER) its signature may be checked with."""

    url: str
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Anchor:
    """Whose configuration to follow, where it is, and who signs it."""

    instance: str
    sources: tuple[AnchorSource, ...]
    generated_at: datetime | None = None

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """All certificates of all sources, each once."""
        return tuple(dict.fromkeys(certificate for source in self.sources for certificate in source.certificates))


@dataclass(frozen=True, slots=True)
class PrivateParameters:
    """What only members of the instance need: where management requests go, and whom the instance is federated with.

    `registration_certificate` (DER) is the TLS certificate behind `registration_address`.
    """

    instance: str
    registration_address: str
    management_provider: ClientId
    time_stamping_interval_seconds: int = 60
    anchors: tuple[Anchor, ...] = ()
    registration_certificate: bytes | None = None


def anchor_hash(data: bytes) -> str:
    """The anchor file's SHA-224 as people compare it: upper-case hexadecimal with colons."""
    return hashlib.sha224(data).digest().hex(":").upper()


def parse_anchor(data: bytes) -> Anchor:
    """An anchor file. Raises ConfigurationInvalid."""
    root = _root(data, "configurationAnchor")
    return _anchor(root)


def build_anchor(anchor: Anchor) -> bytes:
    """The anchor file. Raises ConfigurationInvalid when a text can't stand in XML."""
    try:
        root = etree.Element(f"{{{XROAD}}}configurationAnchor", nsmap={"xroad": XROAD})
        _fill_anchor(root, anchor)
    except ValueError as error:
        raise ConfigurationInvalid("a text of the anchor can't stand in XML") from error
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def parse_private_parameters(data: bytes) -> PrivateParameters:
    """Private parameters. Raises ConfigurationInvalid; says nothing about authenticity.

    As X-Road's schema has it, certificates are any octets here: one that can't be read, of an instance far away,
    verifies nothing, and doesn't take the own configuration with it.
    """
    root = _root(data, "conf")
    service = child(root, "managementService")
    certificates = children(service, "authCertRegServiceCert")
    anchors = tuple(_anchor(element, certificate_octets) for element in children(root, "configurationAnchor"))
    if len(anchors) > _MAX_ANCHORS or len(certificates) > 1:
        raise ConfigurationInvalid("private parameters with too many anchors or certificates")
    return PrivateParameters(
        instance=code_text(root, "instanceIdentifier"),
        registration_address=text_of(service, "authCertRegServiceAddress").strip(),
        management_provider=client_id(child(service, "managementRequestServiceProviderId")),
        time_stamping_interval_seconds=integer(root, "timeStampingIntervalSeconds"),
        anchors=anchors,
        registration_certificate=certificate_octets(certificates[0]) if certificates else None,
    )


def build_private_parameters(parameters: PrivateParameters) -> bytes:
    """The XML of private parameters. Raises ConfigurationInvalid when a text can't stand in XML."""
    try:
        root = etree.Element(f"{{{XROAD}}}conf", nsmap={"xroad": XROAD, "id": IDENTIFIERS})
        add_element(root, "instanceIdentifier", parameters.instance)
        for anchor in parameters.anchors:
            _fill_anchor(add_element(root, "configurationAnchor"), anchor)
        service = add_element(root, "managementService")
        add_element(service, "authCertRegServiceAddress", parameters.registration_address)
        if parameters.registration_certificate is not None:
            add_certificates(service, "authCertRegServiceCert", (parameters.registration_certificate,))
        add_client(service, "managementRequestServiceProviderId", parameters.management_provider)
        add_element(root, "timeStampingIntervalSeconds", str(parameters.time_stamping_interval_seconds))
    except ValueError as error:
        raise ConfigurationInvalid("a text of the private parameters can't stand in XML") from error
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _root(data: bytes, name: str) -> etree._Element:
    try:
        root = xml.parse(data, max_bytes=_MAX_BYTES)
    except MalformedInput as error:
        raise ConfigurationInvalid("not well-formed XML") from error
    if root.tag != f"{{{XROAD}}}{name}":
        raise ConfigurationInvalid(f"the root element is not {name}")
    return root


def _anchor(element: etree._Element, certificate: Callable[[etree._Element], bytes] = certificate_der) -> Anchor:
    sources = tuple(
        AnchorSource(
            text_of(source, "downloadURL").strip(), tuple(map(certificate, children(source, "verificationCert")))
        )
        for source in children(element, "source")
    )
    # PR-GCONF 2.2: at least one source, each with at least one certificate; without one nothing could ever be verified.
    if not sources or not all(source.certificates for source in sources):
        raise ConfigurationInvalid("the anchor has no source, or one without a verification certificate")
    if not all(source.url.startswith(("http://", "https://")) for source in sources):
        raise ConfigurationInvalid("a source of the anchor is not an HTTP address")
    generated = optional_text(element, "generatedAt")
    return Anchor(code_text(element, "instanceIdentifier"), sources, None if generated is None else _time(generated))


def _fill_anchor(element: etree._Element, anchor: Anchor) -> None:
    if anchor.generated_at is not None:
        add_element(element, "generatedAt", anchor.generated_at.astimezone(UTC).isoformat().replace("+00:00", "Z"))
    add_element(element, "instanceIdentifier", anchor.instance)
    for source in anchor.sources:
        part = add_element(element, "source")
        add_element(part, "downloadURL", source.url)
        add_certificates(part, "verificationCert", source.certificates)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigurationInvalid("generatedAt is not a time") from None
