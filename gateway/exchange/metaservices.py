"""The metaservices: what there is on the road, what a client may use of it, and the descriptions (PR-META, PR-MREST).

listMethods, allowedMethods and getOpenAPI over REST and their SOAP siblings with getWsdl come as messages, signed and
logged like any other; every registered member may ask. listClients says what stands in the global configuration and is
answered by the client's own gateway, without a message.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Final, Literal
from urllib.parse import parse_qsl

from gateway.exchange.directory import BuiltIn, Directory, Offer, matches_endpoint
from gateway.exchange.node import Node
from gateway.exchange.off_loop import off_loop
from gateway.exchange.services import Header, ServiceAnswer
from gateway.exchange.state import VerifiedRequest, VerifiedSOAPRequest
from gateway.messages import descriptions, find_usage, metaservices
from gateway.messages.descriptions import UnusableDescription
from gateway.messages.faults import Fault
from gateway.messages.metaservices import ListedClient, ListedMethod
from gateway.messages.mime import Part
from gateway.messages.soap import SOAPMessage
from gateway.messages.soap_answer import build_soap_answer
from gateway.messages.soap_request import SOAPParts
from gateway.store.model import Endpoint, RightSubject, ServiceType
from trust.errors import MalformedInput
from trust.globalconf import VerifiedConfiguration
from trust.identifiers import ClientId, GlobalGroupId, ServiceId

# What there is over REST, by GET alone.
_OVER_REST: Final = frozenset({BuiltIn.LIST_METHODS, BuiltIn.ALLOWED_METHODS, BuiltIn.GET_OPENAPI})

_MAX_FIELDS: Final = 64
_ENTROPY_BYTES: Final = 30


async def answer_rest(node: Node, verified: VerifiedRequest, offer: Offer) -> ServiceAnswer:
    """The answer to a metaservice over REST. Raises Fault."""
    request = verified.request
    if request.method != "GET" or offer.built_in not in _OVER_REST:
        raise Fault("server.serverproxy.unknown_service", str(request.service))
    provider = request.service.provider
    match offer.built_in:
        case BuiltIn.LIST_METHODS:
            return _json(metaservices.build_method_list_json(_methods(node.directory, provider, None)))
        case BuiltIn.ALLOWED_METHODS:
            subjects = _subjects(node, request.client, provider)
            return _json(metaservices.build_method_list_json(_methods(node.directory, provider, subjects)))
        case _:
            return await _openapi(node.directory, provider, request.query)


async def answer_soap(node: Node, verified: VerifiedSOAPRequest, offer: Offer) -> SOAPParts:
    """The answer to a metaservice over SOAP. Raises Fault."""
    message = verified.request.message
    provider = message.service.provider
    match offer.built_in:
        case BuiltIn.LIST_METHODS:
            body = metaservices.build_method_list_body("listMethods", _soap_methods(node, provider, None))
        case BuiltIn.ALLOWED_METHODS:
            body = metaservices.build_method_list_body("allowedMethods", _soap_methods(node, provider, message.client))
        case BuiltIn.GET_WSDL:
            return await _wsdl(node.directory, message)
        case _:
            raise Fault("server.serverproxy.unknown_service", str(message.service))
    return build_soap_answer(message, body)


# -- listMethods, allowedMethods --


def _methods(
    directory: Directory, provider: ClientId, subjects: frozenset[RightSubject] | None
) -> Iterator[ListedMethod]:
    """The REST services of a subsystem; with `subjects` those that they may use, each with the endpoints that they may
    use.
    """
    for offer in directory.services_of(provider):
        if not offer.is_rest or offer.registered is None:
            continue
        endpoints: tuple[Endpoint, ...] = offer.endpoints
        if subjects is not None:
            opened = offer.opened_to(subjects)
            if not opened:
                continue
            # As X-Road: an endpoint's own path, taken as if somebody called it.
            endpoints = tuple(
                e for e in endpoints if any(matches_endpoint(given, e.method, e.path) for given in opened)
            )
        kind: Literal["OPENAPI", "REST"] = (
            "OPENAPI" if offer.registered.service_type is ServiceType.OPENAPI3 else "REST"
        )
        yield ListedMethod(offer.identifier, kind, tuple((e.method, e.path) for e in endpoints))


def _soap_methods(node: Node, provider: ClientId, client: ClientId | None) -> tuple[ServiceId, ...]:
    """The SOAP services of a subsystem; with `client` those that it may use."""
    subjects = None if client is None else _subjects(node, client, provider)
    return tuple(
        offer.identifier
        for offer in node.directory.services_of(provider)
        if not offer.is_rest and (subjects is None or offer.opened_to(subjects))
    )


def _subjects(node: Node, client: ClientId, provider: ClientId) -> frozenset[RightSubject]:
    groups: frozenset[GlobalGroupId] = node.trust.latest.configuration.groups_of(client)
    return node.directory.subjects_of(client, groups, provider)


# -- descriptions --


async def _openapi(directory: Directory, provider: ClientId, query: str | None) -> ServiceAnswer:
    code = _service_code(query or "")
    if not code:
        raise Fault("server.serverproxy.invalid_request", "Missing serviceCode in message body")
    offer = directory.offer(ServiceId(provider, code))
    if offer is None or offer.registered is None:
        versions = [o for o in directory.services_of(provider) if o.identifier.service_code == code]
        if not versions:
            raise Fault("server.serverproxy.internal_error", f"Service not found: {ServiceId(provider, code)}")
        offer = versions[0]
    service = offer.registered
    assert service is not None
    if service.service_type is not ServiceType.OPENAPI3:
        # The wording that clients look for.
        raise Fault("server.serverproxy.internal_error", f"Invalid service type: {service.service_type.value}")
    try:
        document = await off_loop(len(service.description), descriptions.hide_servers, service.description)
    except UnusableDescription:
        raise Fault("server.serverproxy.internal_error", "the stored description is not readable") from None
    content_type = service.description_type or _type_of(service.description)
    return ServiceAnswer(200, "OK", (("Content-Type", content_type),), document)


def _service_code(query: str) -> str:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise Fault("server.serverproxy.invalid_request", "the query is not readable") from None
    codes = [value for name, value in pairs if name.lower() == "servicecode"]
    return codes[-1] if codes else ""


def _type_of(document: bytes) -> str:
    return metaservices.JSON_TYPE if descriptions.is_json(document) else "application/x-yaml"


async def _wsdl(directory: Directory, message: SOAPMessage) -> SOAPParts:
    try:
        code, version = metaservices.read_wsdl_request(message.data)
    except MalformedInput:
        raise Fault("server.serverproxy.invalid_request", "the request is not readable") from None
    if not code:
        raise Fault("server.serverproxy.invalid_request", "Missing serviceCode in message body")
    stored = stored_wsdl(directory, ServiceId(message.service.provider, code, version))
    try:
        document = await off_loop(len(stored), descriptions.hide_addresses, stored)
    except UnusableDescription:
        raise Fault("server.serverproxy.internal_error", "the stored description is not readable") from None
    headers = (("content-transfer-encoding", "binary"), ("content-id", f"<wsdl={uuid.uuid4()}@x-road.eu>"))
    body = metaservices.build_wsdl_body(code, version)
    attachment = Part("text/xml", headers, document)
    return build_soap_answer(message, body, attachments=(attachment,), entropy=os.urandom(_ENTROPY_BYTES))


def stored_wsdl(directory: Directory, identifier: ServiceId) -> bytes:
    """The WSDL of a SOAP service. Raises Fault `unknown_service` or `service_type`."""
    offer = directory.offer(identifier)
    if offer is not None and offer.built_in is BuiltIn.FIND_USAGE:
        return find_usage.WSDL
    service = None if offer is None else offer.registered
    if service is not None and service.service_type is not ServiceType.WSDL:
        raise Fault("server.serverproxy.service_type", "the service is a REST service and does not have a WSDL")
    if service is None or not service.description:
        raise Fault("server.serverproxy.unknown_service", str(identifier))
    return service.description


# -- listClients --


def list_clients(configuration: VerifiedConfiguration, instance: str, accept: list[str]) -> tuple[Header, bytes]:
    """listClients' content type and body: the members and subsystems of an instance; an unknown one has none."""
    clients = _clients(configuration, instance)
    if metaservices.accepts_json(accept):
        return ("Content-Type", "application/json; charset=utf-8"), metaservices.build_client_list_json(clients)
    return ("Content-Type", "text/xml;charset=utf-8"), metaservices.build_client_list_xml(clients)


def _clients(configuration: VerifiedConfiguration, instance: str) -> Iterator[ListedClient]:
    for known in (configuration, *configuration.others):
        if known.instance != instance:
            continue
        for member in known.parameters.members:
            yield ListedClient(member.id, member.name)
            for subsystem in member.subsystems:
                yield ListedClient(subsystem.id, member.name, subsystem.name)


def _json(body: bytes) -> ServiceAnswer:
    return ServiceAnswer(200, "OK", (("Content-Type", metaservices.JSON_TYPE),), body)
