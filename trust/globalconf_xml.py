"""The XML of the shared parameters: reading versions 3 to 6, writing version 6.

Follows PR-GCONF 2.12 section 3 and its schema `shared-parameters.xsd`: the root is in X-Road's namespace, its children
in none, their order is fixed; members and subsystems carry an `id` that gateways refer to. What a version adds over
the one before is optional, so one reader serves all; version 2 is not read, because it names certificates by SHA-1.
Whoever reads here has checked the authenticity of the bytes before (`trust.globalconf`), or has written them.
"""

from __future__ import annotations

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
    child,
    children,
    client_id,
    code_text,
    decode_base64,
    encode_base64,
    integer,
    is_true,
    optional_text,
    text_of,
)
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.parameters import (
    ApprovedCA,
    ApprovedTSA,
    ConfigurationSource,
    GlobalGroup,
    Member,
    MemberClass,
    SecurityServer,
    SharedParameters,
    Subsystem,
)

VERSION: Final = 6
READABLE_VERSIONS: Final = (6, 5, 4, 3)

# A large national instance is about a tenth of this.
MAX_BYTES: Final = 64 << 20
_MAX_ELEMENTS: Final = 2_000_000
_MAX_FRESHNESS_SECONDS: Final = 30 * 86_400


# Reading


def parse_shared_parameters(data: bytes) -> SharedParameters:
    """Shared parameters of versions 3 to 6. Raises ConfigurationInvalid; says nothing about authenticity."""
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
    servers = tuple(_security_server(element, registered) for element in children(root, "securityServer"))
    _require_unambiguous(servers)
    settings = child(root, "globalSettings")
    freshness = integer(settings, "ocspFreshnessSeconds")
    if not 0 < freshness <= _MAX_FRESHNESS_SECONDS:
        raise ConfigurationInvalid("ocspFreshnessSeconds is out of range")
    return SharedParameters(
        instance=instance,
        sources=tuple(_source(element) for element in children(root, "source")),
        approved_cas=tuple(_approved_ca(element) for element in children(root, "approvedCA")),
        approved_tsas=tuple(
            ApprovedTSA(text_of(element, "name"), text_of(element, "url").strip(), certificate_der(element, "cert"))
            for element in children(root, "approvedTSA")
        ),
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
    for authority in (top, *intermediates):
        for ocsp in children(authority, "ocsp"):
            if url := text_of(ocsp, "url").strip():
                urls[url] = None
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
    )


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


def _security_server(element: etree._Element, registered: dict[str, ClientId]) -> SecurityServer:
    owner = _referred(text_of(element, "owner"), registered)
    if not isinstance(owner, MemberId):
        raise ConfigurationInvalid("a security server's owner is not a member")
    hashes = frozenset(decode_base64(hash_.text or "") for hash_ in children(element, "authCertHash"))
    if any(len(hash_) != 32 for hash_ in hashes):
        raise ConfigurationInvalid("authCertHash is not a SHA-256 value")
    maintenance = children(element, "inMaintenanceMode")
    return SecurityServer(
        id=SecurityServerId(owner, code_text(element, "serverCode")),
        address=(optional_text(element, "address") or "").strip(),
        authentication_hashes=hashes,
        clients=frozenset(_referred(client.text or "", registered) for client in children(element, "client")),
        maintenance=(optional_text(maintenance[0], "message") or "") if maintenance else None,
    )


def _referred(reference: str, registered: dict[str, ClientId]) -> ClientId:
    try:
        return registered[reference.strip()]
    except KeyError:
        raise ConfigurationInvalid("a security server refers to an unknown client") from None


def _require_unambiguous(servers: tuple[SecurityServer, ...]) -> None:
    """A certificate that two gateways share, or a gateway listed twice, would make answers depend on the order."""
    hashes = [hash_ for server in servers for hash_ in server.authentication_hashes]
    if len(set(hashes)) != len(hashes) or len({server.id for server in servers}) != len(servers):
        raise ConfigurationInvalid("a security server or authentication certificate is listed twice")


def _global_group(element: etree._Element, instance: str) -> GlobalGroup:
    return GlobalGroup(
        id=GlobalGroupId(instance, code_text(element, "groupCode")),
        description=text_of(element, "description"),
        members=frozenset(client_id(member) for member in children(element, "groupMember")),
    )


def _member_class(element: etree._Element) -> MemberClass:
    return MemberClass(code_text(element, "code"), text_of(element, "description"))


# Writing


def build_shared_parameters(parameters: SharedParameters, version: int = VERSION) -> bytes:
    """The XML of shared parameters. The same values give the same bytes.

    Raises ConfigurationInvalid when they contradict themselves (a gateway of an unknown client, text that XML can't
    carry).
    """
    if version != VERSION:
        raise ConfigurationInvalid("this version of the shared parameters is not written")
    try:
        return _build(parameters)
    except ValueError as error:
        raise ConfigurationInvalid("a text of the shared parameters can't stand in XML") from error


def _build(parameters: SharedParameters) -> bytes:
    root = etree.Element(f"{{{XROAD}}}conf", nsmap={"xroad": XROAD, "id": IDENTIFIERS})
    add_element(root, "instanceIdentifier", parameters.instance)
    for source in parameters.sources:
        element = add_element(root, "source")
        add_element(element, "address", source.address)
        add_certificates(element, "internalVerificationCert", source.internal_certificates)
        add_certificates(element, "externalVerificationCert", source.external_certificates)
    for authority in parameters.approved_cas:
        _add_approved_ca(root, authority)
    for tsa in parameters.approved_tsas:
        element = add_element(root, "approvedTSA")
        add_element(element, "name", tsa.name)
        add_element(element, "url", tsa.url)
        add_certificates(element, "cert", (tsa.certificate,))
    references = _add_members(root, parameters)
    for server in parameters.security_servers:
        _add_security_server(root, server, references)
    for group in parameters.groups:
        element = add_element(root, "globalGroup")
        add_element(element, "groupCode", group.id.group_code)
        add_element(element, "description", group.description)
        for client in sorted(group.members, key=str):
            add_client(element, "groupMember", client)
    settings = add_element(root, "globalSettings")
    for member_class in parameters.member_classes:
        _add_member_class(settings, member_class)
    add_element(settings, "ocspFreshnessSeconds", str(parameters.ocsp_freshness_seconds))
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _add_approved_ca(root: etree._Element, authority: ApprovedCA) -> None:
    element = add_element(root, "approvedCA")
    add_element(element, "name", authority.name)
    if authority.authentication_only:
        add_element(element, "authenticationOnly", "true")
    for name, certificate in (
        ("topCA", authority.certificate),
        *(("intermediateCA", intermediate) for intermediate in authority.intermediates),
    ):
        ca = add_element(element, name)
        add_certificates(ca, "cert", (certificate,))
        # One `ocsp` per URL; each may name one responder certificate, further ones repeat the last URL.
        urls = authority.ocsp_urls or (("",) if authority.ocsp_responders else ())
        for position in range(max(len(urls), len(authority.ocsp_responders))):
            ocsp = add_element(ca, "ocsp")
            add_element(ocsp, "url", urls[min(position, len(urls) - 1)])
            add_certificates(ocsp, "cert", authority.ocsp_responders[position : position + 1])
    add_element(element, "certificateProfileInfo", authority.profile)


def _add_members(root: etree._Element, parameters: SharedParameters) -> dict[ClientId, str]:
    descriptions = {member_class.code: member_class for member_class in parameters.member_classes}
    references: dict[ClientId, str] = {}
    for member in parameters.members:
        element = add_element(root, "member")
        references[member.id] = f"id{len(references)}"
        element.set("id", references[member.id])
        code = member.id.member_class
        _add_member_class(element, descriptions.get(code, MemberClass(code, code)))
        add_element(element, "memberCode", member.id.member_code)
        add_element(element, "name", member.name)
        for subsystem in member.subsystems:
            part = add_element(element, "subsystem")
            references[subsystem.id] = f"id{len(references)}"
            part.set("id", references[subsystem.id])
            add_element(part, "subsystemCode", subsystem.id.subsystem_code)
            if subsystem.name:
                add_element(part, "subsystemName", subsystem.name)
    return references


def _add_member_class(parent: etree._Element, member_class: MemberClass) -> None:
    element = add_element(parent, "memberClass")
    add_element(element, "code", member_class.code)
    add_element(element, "description", member_class.description)


def _add_security_server(root: etree._Element, server: SecurityServer, references: dict[ClientId, str]) -> None:
    element = add_element(root, "securityServer")
    try:
        add_element(element, "owner", references[server.id.owner])
        clients = [references[client] for client in server.clients]
    except KeyError:
        raise ConfigurationInvalid("a security server of an unknown member or client") from None
    add_element(element, "serverCode", server.id.server_code)
    if server.address:
        add_element(element, "address", server.address)
    for hash_ in sorted(server.authentication_hashes):
        add_element(element, "authCertHash", encode_base64(hash_))
    for client in sorted(clients):
        add_element(element, "client", client)
    if server.maintenance is not None:
        maintenance = add_element(element, "inMaintenanceMode")
        if server.maintenance:
            add_element(maintenance, "message", server.maintenance)
