"""Reading the XML of the shared parameters, versions 2 to 6.

Follows PR-GCONF 2.12 section 3 and its schemas: the root is in X-Road's namespace, its children in none; members and
subsystems carry an `id` that gateways refer to. What a version adds over the one before is optional, so one reader
serves all, and elements of later minor forms are skipped (the schema's `any`), within the bounds of the document.
Version 2 names authentication certificates by SHA-1, the others by SHA-256.
Whoever reads here has checked the authenticity of the bytes before (`trust.globalconf`), or has written them. Writing
is `trust.globalconf_writing`'s.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar

from lxml import etree

from trust import xml
from trust.errors import ConfigurationInvalid, MalformedInput
from trust.globalconf_elements import (
    XROAD,
    certificate_der,
    child,
    children,
    client_id,
    code_text,
    decode_base64,
    integer,
    is_true,
    optional_text,
    text_of,
)
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.parameters import (
    ACMEServer,
    ApprovedCA,
    ApprovedTSA,
    ConfigurationSource,
    CostType,
    CSRFormat,
    GlobalGroup,
    Member,
    MemberClass,
    SecurityServer,
    SharedParameters,
    Subsystem,
)

READABLE_VERSIONS: Final = (6, 5, 4, 3, 2)

# A large national instance is about a tenth of this.
MAX_BYTES: Final = 64 << 20
_MAX_ELEMENTS: Final = 2_000_000
_MAX_FRESHNESS_SECONDS: Final = 30 * 86_400
_SHA256_BYTES: Final = 32
_SHA1_BYTES: Final = 20

_E = TypeVar("_E", bound=StrEnum)


def parse_shared_parameters(data: bytes, version: int | None = None) -> SharedParameters:
    """Shared parameters of one of `READABLE_VERSIONS`; of any of them without `version`.

    Raises ConfigurationInvalid; says nothing about authenticity.
    """
    try:
        root = xml.parse(data, max_bytes=MAX_BYTES, max_elements=_MAX_ELEMENTS)
    except MalformedInput as error:
        raise ConfigurationInvalid("shared parameters are not well-formed XML") from error
    if root.tag != f"{{{XROAD}}}conf":
        raise ConfigurationInvalid("shared parameters have another root element")
    instance = code_text(root, "instanceIdentifier")
    registered: dict[str, ClientId] = {}
    members = tuple(_member(element, instance, registered) for element in children(root, "member"))
    if len(set(registered.values())) != len(registered):
        raise ConfigurationInvalid("a member or subsystem is listed twice")
    servers = tuple(_security_server(element, registered, version) for element in children(root, "securityServer"))
    _require_unambiguous(servers)
    settings = child(root, "globalSettings")
    freshness = integer(settings, "ocspFreshnessSeconds")
    if not 0 < freshness <= _MAX_FRESHNESS_SECONDS:
        raise ConfigurationInvalid("ocspFreshnessSeconds is out of range")
    return SharedParameters(
        instance=instance,
        sources=tuple(_source(element) for element in children(root, "source")),
        approved_cas=tuple(_approved_ca(element) for element in children(root, "approvedCA")),
        approved_tsas=tuple(_approved_tsa(element) for element in children(root, "approvedTSA")),
        members=members,
        security_servers=servers,
        groups=tuple(_global_group(element, instance) for element in children(root, "globalGroup")),
        member_classes=tuple(_member_class(element) for element in children(settings, "memberClass")),
        ocsp_freshness_seconds=freshness,
    )


def _source(element: etree._Element) -> ConfigurationSource:
    return ConfigurationSource(
        address=text_of(element, "address").strip(),
        internal_certificates=tuple(map(certificate_der, children(element, "internalVerificationCert"))),
        external_certificates=tuple(map(certificate_der, children(element, "externalVerificationCert"))),
    )


def _approved_ca(element: etree._Element) -> ApprovedCA:
    top = child(element, "topCA")
    intermediates = children(element, "intermediateCA")
    urls: dict[str, None] = {}
    responders: dict[bytes, None] = {}
    costs: dict[str, CostType] = {}
    for authority in (top, *intermediates):
        for ocsp in children(authority, "ocsp"):
            if url := text_of(ocsp, "url").strip():
                urls[url] = None
                if (cost := _choice(ocsp, "costType", CostType)) is not None:
                    costs[url] = cost
            responders.update((certificate_der(cert), None) for cert in children(ocsp, "cert"))
    only = children(element, "authenticationOnly")
    return ApprovedCA(
        name=text_of(element, "name"),
        certificate=certificate_der(top, "cert"),
        intermediates=tuple(certificate_der(authority, "cert") for authority in intermediates),
        ocsp_urls=tuple(urls),
        ocsp_responders=tuple(responders),
        profile=text_of(element, "certificateProfileInfo").strip(),
        authentication_only=bool(only) and is_true(only[0]),
        ocsp_costs=tuple(costs.items()),
        default_csr_format=_choice(element, "defaultCsrFormat", CSRFormat),
        acme=_acme(children(element, "acmeServer")),
    )


def _acme(elements: list[etree._Element]) -> ACMEServer | None:
    if not elements:
        return None
    (server, *others) = elements
    if others:
        raise ConfigurationInvalid("an authority has two ACME servers")
    return ACMEServer(
        directory_url=text_of(server, "directoryURL").strip(),
        ip_address=optional_text(server, "ipAddress"),
        authentication_profile_id=optional_text(server, "authenticationCertificateProfileId"),
        signing_profile_id=optional_text(server, "signingCertificateProfileId"),
    )


def _approved_tsa(element: etree._Element) -> ApprovedTSA:
    return ApprovedTSA(
        name=text_of(element, "name"),
        url=text_of(element, "url").strip(),
        certificate=certificate_der(element, "cert"),
        cost_type=_choice(element, "costType", CostType),
    )


def _choice(parent: etree._Element, name: str, choices: type[_E]) -> _E | None:
    text = optional_text(parent, name)
    try:
        return None if text is None else choices(text.strip())
    except ValueError:
        raise ConfigurationInvalid(f"element {name} has a value that the schema does not know") from None


def _member(element: etree._Element, instance: str, registered: dict[str, ClientId]) -> Member:
    member_class = code_text(child(element, "memberClass"), "code")
    member = MemberId(instance, member_class, code_text(element, "memberCode"))
    _register(element, member, registered)
    subsystems = []
    for part in children(element, "subsystem"):
        subsystem = SubsystemId(instance, member_class, member.member_code, code_text(part, "subsystemCode"))
        _register(part, subsystem, registered)
        # Versions before 5 have no subsystemName.
        subsystems.append(Subsystem(subsystem, optional_text(part, "subsystemName") or ""))
    return Member(member, text_of(element, "name"), tuple(subsystems))


def _register(element: etree._Element, client: ClientId, registered: dict[str, ClientId]) -> None:
    # Without an id (the schema allows it) nobody can refer to the client; it is a member all the same.
    key = element.get("id") or f"\0{client}"
    if key in registered:
        raise ConfigurationInvalid("an id is given twice")
    registered[key] = client


def _security_server(element: etree._Element, registered: dict[str, ClientId], version: int | None) -> SecurityServer:
    owner = _referred(text_of(element, "owner"), registered)
    if not isinstance(owner, MemberId):
        raise ConfigurationInvalid("a security server's owner is not a member")
    hashes = frozenset(decode_base64(hash_.text or "") for hash_ in children(element, "authCertHash"))
    # Version 2 has SHA-1 values; some registries put the longer ones into it, too.
    lengths = {_SHA256_BYTES, _SHA1_BYTES} if version in {None, 2} else {_SHA256_BYTES}
    if any(len(hash_) not in lengths for hash_ in hashes):
        raise ConfigurationInvalid("authCertHash is not a hash of this version")
    maintenance = children(element, "inMaintenanceMode")
    return SecurityServer(
        id=SecurityServerId(owner, code_text(element, "serverCode")),
        address=(optional_text(element, "address") or "").strip(),
        authentication_hashes=frozenset(hash_ for hash_ in hashes if len(hash_) == _SHA256_BYTES),
        authentication_sha1=frozenset(hash_ for hash_ in hashes if len(hash_) == _SHA1_BYTES),
        clients=frozenset(_referred(client.text or "", registered) for client in children(element, "client")),
        maintenance=(optional_text(maintenance[0], "message") or "") if maintenance else None,
    )


def _referred(reference: str, registered: dict[str, ClientId]) -> ClientId:
    try:
        return registered[reference.strip()]
    except KeyError:
        raise ConfigurationInvalid("a security server refers to an unknown client") from None


def _require_unambiguous(servers: tuple[SecurityServer, ...]) -> None:
    """A gateway listed twice would make answers depend on the order.

    A certificate that two gateways share does happen; it identifies neither (`VerifiedConfiguration`).
    """
    if len({server.id for server in servers}) != len(servers):
        raise ConfigurationInvalid("a security server is listed twice")


def _global_group(element: etree._Element, instance: str) -> GlobalGroup:
    return GlobalGroup(
        id=GlobalGroupId(instance, code_text(element, "groupCode")),
        description=text_of(element, "description"),
        members=frozenset(client_id(member) for member in children(element, "groupMember")),
    )


def _member_class(element: etree._Element) -> MemberClass:
    return MemberClass(code_text(element, "code"), text_of(element, "description"))
