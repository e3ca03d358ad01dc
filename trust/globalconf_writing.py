"""Writing the XML of the shared parameters, versions 2 to 6.

Follows PR-GCONF 2.12 section 3 and its schemas: the order of children is fixed, and each version has what was added
until then: 3 sources, SHA-256 hashes of certificates and ACME servers, 4 ACME profiles, 5 names of subsystems and
maintenance, 6 cost types and the form of certificate requests. Reading is `trust.globalconf_xml`'s.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from trust.errors import ConfigurationInvalid
from trust.globalconf_elements import IDENTIFIERS, XROAD, add_certificates, add_client, add_element, encode_base64
from trust.identifiers import ClientId
from trust.parameters import ACMEServer, ApprovedCA, CostType, MemberClass, SecurityServer, SharedParameters

VERSION: Final = 6
VERSIONS: Final = (6, 5, 4, 3, 2)


def build_shared_parameters(parameters: SharedParameters, version: int = VERSION) -> bytes:
    """The XML of shared parameters in one of `VERSIONS`. The same values give the same bytes.

    Raises ConfigurationInvalid when they contradict themselves (a gateway of an unknown client, text that XML can't
    carry).
    """
    if version not in VERSIONS:
        raise ConfigurationInvalid("this version of the shared parameters is not written")
    return _bytes(parameters, version, sha1=version == 2, sha256=version > 2)


def build_registry_state(parameters: SharedParameters) -> bytes:
    """The newest form with all that older ones need: both hashes of each certificate. Never published.

    Raises as `build_shared_parameters`.
    """
    return _bytes(parameters, VERSION, sha1=True, sha256=True)


def _bytes(parameters: SharedParameters, version: int, *, sha1: bool, sha256: bool) -> bytes:
    try:
        return _Writer(version, sha1=sha1, sha256=sha256).build(parameters)
    except ValueError as error:
        raise ConfigurationInvalid("a text of the shared parameters can't stand in XML") from error


class _Writer:
    """Writes one document of one version."""

    def __init__(self, version: int, *, sha1: bool, sha256: bool) -> None:
        self._version = version
        self._sha1 = sha1
        self._sha256 = sha256

    def build(self, parameters: SharedParameters) -> bytes:
        root = etree.Element(f"{{{XROAD}}}conf", nsmap={"xroad": XROAD, "id": IDENTIFIERS})
        add_element(root, "instanceIdentifier", parameters.instance)
        for source in parameters.sources if self._version >= 3 else ():
            element = add_element(root, "source")
            add_element(element, "address", source.address)
            add_certificates(element, "internalVerificationCert", source.internal_certificates)
            add_certificates(element, "externalVerificationCert", source.external_certificates)
        for authority in parameters.approved_cas:
            self._add_approved_ca(root, authority)
        for tsa in parameters.approved_tsas:
            element = add_element(root, "approvedTSA")
            add_element(element, "name", tsa.name)
            add_element(element, "url", tsa.url)
            add_certificates(element, "cert", (tsa.certificate,))
            self._add_cost(element, tsa.cost_type)
        references = self._add_members(root, parameters)
        for server in parameters.security_servers:
            self._add_security_server(root, server, references)
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

    def _add_approved_ca(self, root: etree._Element, authority: ApprovedCA) -> None:
        element = add_element(root, "approvedCA")
        add_element(element, "name", authority.name)
        if authority.authentication_only:
            add_element(element, "authenticationOnly", "true")
        costs = dict(authority.ocsp_costs)
        for name, certificate in (
            ("topCA", authority.certificate),
            *(("intermediateCA", certificate) for certificate in authority.intermediates),
        ):
            ca = add_element(element, name)
            add_certificates(ca, "cert", (certificate,))
            if name == "topCA":
                self._add_responders(ca, authority, costs)
        add_element(element, "certificateProfileInfo", authority.profile)
        if self._version >= 6 and authority.default_csr_format is not None:
            add_element(element, "defaultCsrFormat", authority.default_csr_format.value)
        if self._version >= 3 and authority.acme is not None:
            self._add_acme(element, authority.acme)

    def _add_responders(self, ca: etree._Element, authority: ApprovedCA, costs: dict[str, CostType]) -> None:
        # One `ocsp` per URL; each may name one responder certificate, further ones repeat the last URL.
        urls = authority.ocsp_urls or (("",) if authority.ocsp_responders else ())
        for position in range(max(len(urls), len(authority.ocsp_responders))):
            ocsp = add_element(ca, "ocsp")
            url = urls[min(position, len(urls) - 1)]
            add_element(ocsp, "url", url)
            add_certificates(ocsp, "cert", authority.ocsp_responders[position : position + 1])
            self._add_cost(ocsp, costs.get(url))

    def _add_cost(self, element: etree._Element, cost: CostType | None) -> None:
        if self._version >= 6 and cost is not None:
            add_element(element, "costType", cost.value)

    def _add_acme(self, element: etree._Element, acme: ACMEServer) -> None:
        server = add_element(element, "acmeServer")
        add_element(server, "directoryURL", acme.directory_url)
        if acme.ip_address is not None:
            add_element(server, "ipAddress", acme.ip_address)
        if self._version >= 4:
            for name, profile in (
                ("authenticationCertificateProfileId", acme.authentication_profile_id),
                ("signingCertificateProfileId", acme.signing_profile_id),
            ):
                if profile is not None:
                    add_element(server, name, profile)

    def _add_members(self, root: etree._Element, parameters: SharedParameters) -> dict[ClientId, str]:
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
                if subsystem.name and self._version >= 5:
                    add_element(part, "subsystemName", subsystem.name)
        return references

    def _add_security_server(
        self, root: etree._Element, server: SecurityServer, references: dict[ClientId, str]
    ) -> None:
        element = add_element(root, "securityServer")
        try:
            add_element(element, "owner", references[server.id.owner])
            clients = [references[client] for client in server.clients]
        except KeyError:
            raise ConfigurationInvalid("a security server of an unknown member or client") from None
        add_element(element, "serverCode", server.id.server_code)
        if server.address:
            add_element(element, "address", server.address)
        hashes = [
            *sorted(server.authentication_hashes if self._sha256 else ()),
            *sorted(server.authentication_sha1 if self._sha1 else ()),
        ]
        for hash_ in hashes:
            add_element(element, "authCertHash", encode_base64(hash_))
        for client in sorted(clients):
            add_element(element, "client", client)
        if server.maintenance is not None and self._version >= 5:
            maintenance = add_element(element, "inMaintenanceMode")
            if server.maintenance:
                add_element(maintenance, "message", server.maintenance)


def _add_member_class(parent: etree._Element, member_class: MemberClass) -> None:
    element = add_element(parent, "memberClass")
    add_element(element, "code", member_class.code)
    add_element(element, "description", member_class.description)
