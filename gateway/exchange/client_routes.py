"""What the client port answers by itself, without a message: listClients, verificationconf, asic, wsdl.

GETs with these exact paths (PR-META, UG-SIGDOC); whatever else a client sends is a REST or a SOAP message. Only `/asic`
hands out something that isn't public on the road, so it alone asks who the caller is, as the client's subsystem says.
Errors are in plain text, those of listClients a SOAP fault with HTTP 200, as X-Road's proxy has it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from audit.errors import AuditError
from gateway.exchange import metaservices
from gateway.exchange.consumer import require_connection
from gateway.exchange.http_parts import peer_certificate
from gateway.exchange.node import Node
from gateway.exchange.wsdl_fetch import WSDLFetcher
from gateway.logging import describe_error
from gateway.message_log.export import ExportProblem, ExportRefused, NamedContainer, file_name_part
from gateway.messages.faults import Fault, Hop, soap_fault
from gateway.messages.soap import fault_content_type
from trust.asic import build_verification_configuration
from trust.asic.configuration import instance_parameters
from trust.errors import TrustError
from trust.identifiers import (
    ClientId,
    InvalidIdentifier,
    MemberId,
    ServiceId,
    SubsystemId,
    decode_segment,
    encode_segment,
)

Parameters = Mapping[str, str]

_LIST_CLIENTS: Final = "/listClients"
_MAX_PARAMETERS: Final = 32
_ZIP: Final = "application/zip"
_ASIC: Final = "application/vnd.etsi.asic-e+zip"
_TEXT: Final = "text/plain;charset=utf-8"
_NOT_THERE: Final = frozenset({"unknown_service", "unknown_member", "service_type"})
_FAILED: Final = "server.clientproxy.internal_error"
_NO_DATABASE: Final = "server.clientproxy.database_error"
_CODES: Final = {
    400: "client.invalid_request",
    401: "server.clientproxy.ssl_authentication_failed",
    404: "client.not_found",
}
_PROBLEMS: Final = {
    ExportProblem.NOT_FOUND: 404,
    ExportProblem.NOT_KEPT: 404,
    ExportProblem.NOT_UNIQUE: 500,
    ExportProblem.NOT_STAMPED: 500,
}


class _Refused(Exception):
    """The answer is this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ClientRoutes:
    """Answers the client port's own paths. Used from one event loop."""

    def __init__(self, node: Node, request_id: Callable[[int], str]) -> None:
        self._node = node
        self._request_id = request_id
        self._wsdls = WSDLFetcher(node, request_id)
        self._routes: dict[str, Callable[[web.BaseRequest, Parameters], Awaitable[web.Response]]] = {
            _LIST_CLIENTS: self._list_clients,
            "/verificationconf": self._verification_configuration,
            "/asic": self._asic,
            "/wsdl": self._wsdl,
        }

    def path_of(self, request: web.BaseRequest) -> str | None:
        """The path, if it is one of ours."""
        if request.method != "GET":
            return None
        path, _ = _path_and_query(request.raw_path)
        return path if path in self._routes else None

    async def answer(self, request: web.BaseRequest, path: str) -> web.Response:
        """The answer to a request with one of our paths."""
        try:
            return await self._routes[path](request, _parameters(_path_and_query(request.raw_path)[1]))
        except _Refused as refused:
            # The text goes to the caller, who is told no code (UG-SIGDOC); the operator is.
            self._node.log.warning("not answered", action=path, code=_CODES.get(refused.status, _FAILED))
            return _text(refused.status, str(refused))
        except Fault as fault:
            return self.refuse(path, fault)
        except (AuditError, TrustError, SQLAlchemyError) as error:
            code = _NO_DATABASE if isinstance(error, SQLAlchemyError) else _FAILED
            self._node.log.error("not answered", action=path, code=code, **describe_error(error))
            return _text(500, "The request could not be processed")

    def refuse(self, path: str, fault: Fault) -> web.Response:
        """The refusal, in the form of this path."""
        node = self._node
        fault = fault.identify(self._request_id(node.clock.now_ms()))
        node.log.warning("not answered", action=path, detail=fault.detail, code=fault.code)
        if path != _LIST_CLIENTS:
            busy = fault.code.endswith(".overloaded")
            return _text(503 if busy else fault.status, fault.message)
        headers = {"Content-Type": fault_content_type("utf-8"), "Server": "datenweg"}
        return web.Response(body=soap_fault(fault, node.vocabulary), headers=headers)

    # -- the global configuration

    async def _list_clients(self, request: web.BaseRequest, parameters: Parameters) -> web.Response:
        configuration = self._node.trust.current(Hop.CONSUMER_GATEWAY).configuration
        instance = parameters.get("xRoadInstance", "").strip() or configuration.instance
        if instance not in {known.instance for known in (configuration, *configuration.others)}:
            raise Fault("server.clientproxy.internal_error", "the instance is not known here")
        header, body = metaservices.list_clients(configuration, instance, request.headers.getall("Accept", []))
        return _answer(header[1], body)

    async def _verification_configuration(self, _request: web.BaseRequest, _parameters: Parameters) -> web.Response:
        # Outdated or not: old containers are verified with it as well.
        configuration = self._node.trust.latest.configuration
        known = [instance_parameters(part) for part in (configuration, *configuration.others)]
        return _answer(_ZIP, build_verification_configuration(known), 'filename="verificationconf.zip"')

    # -- descriptions

    async def _wsdl(self, _request: web.BaseRequest, parameters: Parameters) -> web.Response:
        provider = _client_of(parameters)
        code = parameters.get("serviceCode", "")
        if not isinstance(provider, SubsystemId) or not code:
            raise _Refused(400, "subsystemCode and serviceCode must be given")
        service = ServiceId(provider, code, parameters.get("version") or parameters.get("serviceVersion") or None)
        try:
            if self._node.directory.client(provider) is None:
                found = await self._wsdls.fetch(service)
            else:
                found = metaservices.stored_wsdl(self._node.directory, service)
        except Fault as fault:
            leaf = fault.code.rpartition(".")[2]
            raise _Refused(404 if leaf in _NOT_THERE else fault.status, fault.message) from None
        return _answer("text/xml;charset=utf-8", found)

    # -- signed documents

    async def _asic(self, request: web.BaseRequest, parameters: Parameters) -> web.Response:
        client = _client_of(parameters)
        self._authenticate(request, client)
        query_id = parameters.get("queryId", "")
        if not query_id:
            raise _Refused(400, "queryId must be given")
        only = [name for name in ("requestOnly", "responseOnly") if name in parameters]
        unique = "unique" in parameters
        if len(only) > 1:
            raise _Refused(400, "requestOnly and responseOnly exclude each other")
        if unique and not only:
            raise _Refused(400, "unique needs requestOnly or responseOnly")
        exporter = self._node.exporter
        if exporter is None:
            raise _Refused(500, "This gateway exports no messages")
        try:
            containers = await exporter.containers(
                query_id,
                client.encoded,
                request=only != ["responseOnly"],
                response=only != ["requestOnly"],
                unique=unique,
                force="force" in parameters,
            )
        except ExportRefused as refused:
            raise _Refused(_PROBLEMS[refused.problem], str(refused)) from None
        if unique:
            (container,) = containers
            return _answer(_ASIC, container.content, f'attachment; filename="{container.name}"')
        suffix = {"requestOnly": "-request", "responseOnly": "-response"}.get(only[0], "") if only else ""
        name = f"{file_name_part(query_id)}{suffix}.zip"
        return _answer(_ZIP, _archive(containers), f'attachment; filename="{name}"')

    def _authenticate(self, request: web.BaseRequest, identifier: ClientId) -> None:
        """The caller is connected in the way that the client's subsystem demands, as for a message of its own."""
        client = self._node.directory.client(identifier)
        if client is None:
            raise _Refused(401, f"{identifier} is not served by this gateway")
        try:
            require_connection(self._node, client, over_tls=request.secure, certificate=peer_certificate(request))
        except Fault as fault:
            raise _Refused(401, fault.message) from None


def _path_and_query(target: str) -> tuple[str, str]:
    if not target.startswith("/"):
        # RFC 9112 3.2.2: clients in proxy mode send the absolute form.
        try:
            parts = urlsplit(target)
        except ValueError:
            return "", ""
        return parts.path, parts.query
    path, _, query = target.partition("?")
    return path, query


def _parameters(query: str) -> Parameters:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise _Refused(400, "The query is not readable") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        # As servlets: of a doubled parameter the first counts.
        found.setdefault(name, value)
    return found


def _client_of(parameters: Parameters) -> ClientId:
    names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")
    for name in names[:3]:
        if not parameters.get(name):
            raise _Refused(400, f"{name} must be given")
    try:
        segments = [decode_segment(encode_segment(value)) for name in names if (value := parameters.get(name))]
    except InvalidIdentifier:
        raise _Refused(400, "The client is not a valid identifier") from None
    return SubsystemId(*segments) if len(segments) == len(names) else MemberId(*segments)


def _archive(containers: tuple[NamedContainer, ...]) -> bytes:
    """The containers are compressed already: stored as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for container in containers:
            archive.writestr(container.name, container.content)
    return buffer.getvalue()


def _answer(content_type: str, body: bytes, disposition: str = "") -> web.Response:
    headers = {"Content-Type": content_type, "Server": "datenweg"}
    if disposition:
        headers["Content-Disposition"] = disposition
    return web.Response(body=body, headers=headers)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": _TEXT, "Server": "datenweg"})
