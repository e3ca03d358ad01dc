"""The optional parts of a configuration: who may read monitoring data, how often OCSP answers are fetched, and whether
their nextUpdate counts.

Follows PR-GCONF 2.12 section 2.5 and annexes D, F and G. Each part is a small XML file of its own, named in the signed
directory; a registry publishes those that it has something to say about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

from trust import xml
from trust.errors import ConfigurationInvalid, MalformedInput
from trust.globalconf_elements import (
    CLIENT_ELEMENTS,
    IDENTIFIERS,
    XROAD,
    add_client,
    add_element,
    child,
    children,
    client_id,
    integer,
    is_true,
    require_children,
)
from trust.identifiers import ClientId

MONITORING: Final = "MONITORING"
FETCH_INTERVAL: Final = "FETCHINTERVAL"
NEXT_UPDATE: Final = "NEXTUPDATE"
FILE_NAMES: Final[Mapping[str, str]] = {
    MONITORING: "monitoring-params.xml",
    FETCH_INTERVAL: "fetchinterval-params.xml",
    NEXT_UPDATE: "nextupdate-params.xml",
}
DEFAULT_OCSP_FETCH_INTERVAL_SECONDS: Final = 1200
# More seldom than monthly no answer is fresh; the schema's int allows nonsense.
_MAX_INTERVAL_SECONDS: Final = 30 * 86_400
_MAX_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class OptionalParts:
    """What a configuration says beyond shared and private parameters; None where it says nothing."""

    monitoring_client: ClientId | None = None
    ocsp_fetch_interval_seconds: int | None = None
    verify_next_update: bool | None = None


def parse_optional_parts(files: Mapping[str, bytes]) -> OptionalParts:
    """The parts among `files` (by content identifier; others are ignored).

    Raises ConfigurationInvalid (`malformed_optional_parts_conf`); says nothing about authenticity.
    """
    try:
        return OptionalParts(
            monitoring_client=_monitoring_client(files.get(MONITORING)),
            ocsp_fetch_interval_seconds=_fetch_interval(files.get(FETCH_INTERVAL)),
            verify_next_update=_verify_next_update(files.get(NEXT_UPDATE)),
        )
    except (ConfigurationInvalid, MalformedInput) as error:
        raise ConfigurationInvalid(
            "an optional part of the configuration is malformed", code="malformed_optional_parts_conf"
        ) from error


def build_optional_parts(parts: OptionalParts) -> dict[str, bytes]:
    """One file for each part that is there, by content identifier. Raises ConfigurationInvalid."""
    files: dict[str, etree._Element] = {}
    try:
        if parts.monitoring_client is not None:
            files[MONITORING] = root = _conf()
            add_client(add_element(root, "monitoringClient"), "monitoringClientId", parts.monitoring_client)
        if parts.ocsp_fetch_interval_seconds is not None:
            files[FETCH_INTERVAL] = root = _conf()
            add_element(root, "ocspFetchInterval", str(parts.ocsp_fetch_interval_seconds))
        if parts.verify_next_update is not None:
            files[NEXT_UPDATE] = root = _conf()
            add_element(root, "verifyNextUpdate", "true" if parts.verify_next_update else "false")
    except ValueError as error:
        raise ConfigurationInvalid("a text of an optional part can't stand in XML") from error
    return {
        identifier: etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)
        for identifier, root in files.items()
    }


def _conf() -> etree._Element:
    return etree.Element(f"{{{XROAD}}}conf", nsmap={"xroad": XROAD, "id": IDENTIFIERS})


def _root(data: bytes, name: str) -> etree._Element:
    root = xml.parse(data, max_bytes=_MAX_BYTES)
    if root.tag != f"{{{XROAD}}}conf":
        raise ConfigurationInvalid("an optional part has another root element")
    # X-Road's schemas of these parts have no place for anything else.
    return require_children(root, name)


def _monitoring_client(data: bytes | None) -> ClientId | None:
    if data is None:
        return None
    monitoring = child(_root(data, "monitoringClient"), "monitoringClient")
    client = children(require_children(monitoring, "monitoringClientId"), "monitoringClientId")
    if len(client) > 1:
        raise ConfigurationInvalid("two monitoring clients")
    return client_id(require_children(client[0], *CLIENT_ELEMENTS)) if client else None


def _fetch_interval(data: bytes | None) -> int | None:
    if data is None:
        return None
    seconds = integer(_root(data, "ocspFetchInterval"), "ocspFetchInterval")
    if not 0 < seconds <= _MAX_INTERVAL_SECONDS:
        raise ConfigurationInvalid("ocspFetchInterval is out of range")
    return seconds


def _verify_next_update(data: bytes | None) -> bool | None:
    return None if data is None else is_true(child(_root(data, "verifyNextUpdate"), "verifyNextUpdate"))
