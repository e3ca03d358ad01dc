"""Services as their institution keeps them: from a WSDL, an OpenAPI document or a base URL; refreshed and changed.

A service written for X-Road needs no declaration for citizens; `registration` is the way for one that makes it. All
functions work on the gateway's store; running gateways see a change at their next poll.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urljoin

from gateway.admin.descriptions import Description, read_description
from gateway.admin.errors import AdminError
from gateway.admin.openapi import read_openapi
from gateway.admin.registration import check_code, check_segment, check_url, endpoints_of
from gateway.admin.wsdl import parse_wsdl
from gateway.exchange.service_tls import Pins
from gateway.store.model import AccessRight, Client, NodeConfiguration, Service, ServiceType
from gateway.store.repository import Repository
from trust.identifiers import ServiceId, SubsystemId

_MAX_NOTICE: Final = 255


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What is said of a service besides its description."""

    url: str = ""
    timeout_seconds: float | None = None
    verify_tls: bool = True
    insecure_plain_http: bool = False


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh changed: operations of a WSDL, or endpoints of an OpenAPI document, and the rights that went."""

    source: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    lost_rights: tuple[AccessRight, ...] = ()


async def add_wsdl(
    repository: Repository, provider: SubsystemId, source: str, options: ServiceOptions
) -> tuple[Service, ...]:
    """A service for each operation of a WSDL, at its port's address if `options` names no URL. Raises AdminError."""
    description = await read_description(source, await pins_of(repository, provider, options.verify_tls))
    services = _wsdl_services(provider, description, options)
    await _refuse_taken(repository, services)
    await _serve(repository, provider)
    await repository.upsert_services(services)
    return services


async def add_openapi(
    repository: Repository, provider: SubsystemId, code: str, source: str, options: ServiceOptions
) -> tuple[Service, tuple[str, ...]]:
    """A REST service with the endpoints of an OpenAPI document, at its first server if `options` names no URL.

    Also what is wrong with the document, as long as its operations can be read. Raises AdminError.
    """
    description = await read_description(source, await pins_of(repository, provider, options.verify_tls))
    parsed = read_openapi(description.content)
    url = options.url or _server_url(parsed.server, description.source)
    service = _described(_service(provider, code, ServiceType.OPENAPI3, replace(options, url=url)), description)
    await _refuse_taken(repository, (service,))
    await _serve(repository, provider)
    await repository.upsert_service(service, generated=endpoints_of(service, parsed))
    return service, parsed.warnings


async def add_rest(repository: Repository, provider: SubsystemId, code: str, options: ServiceOptions) -> Service:
    """A REST service of which only the base URL is known. Raises AdminError."""
    service = _service(provider, code, ServiceType.REST, options)
    await _refuse_taken(repository, (service,))
    await _serve(repository, provider)
    await repository.upsert_service(service, generated=())
    return service


async def refresh(
    repository: Repository, provider: SubsystemId, code: str, *, source: str = "", insecure_plain_http: bool = False
) -> tuple[RefreshReport, tuple[Service, ...]]:
    """Reads the description that a service came from anew (from `source`, if it has moved): what changed, what is now.

    Services that the description no longer has go with their rights and endpoints; so do rights to endpoints that it no
    longer has. Raises AdminError.
    """
    configuration = await repository.load()
    service = _known(configuration, provider, code)[0]
    if not service.description_source and not source:
        raise AdminError("--code: the service has no description; give a --source, or set its --url")
    pins = await pins_of(repository, provider, service.verify_tls)
    description = await read_description(source or service.description_source, pins)
    match service.service_type:
        case ServiceType.WSDL:
            return await _refresh_wsdl(
                repository, configuration, service, description, insecure_plain_http=insecure_plain_http
            )
        case ServiceType.OPENAPI3:
            return await _refresh_openapi(repository, configuration, service, description)
        case ServiceType.REST:
            raise AdminError("--code: a plain REST service has nothing to refresh")


async def change_services(
    repository: Repository,
    provider: SubsystemId,
    code: str,
    change: Callable[[Service], Service],
    *,
    whole_description: bool = False,
) -> tuple[Service, ...]:
    """Changes a service in all its versions; with `whole_description` every service of the same document, too."""
    configuration = await repository.load()
    chosen = _known(configuration, provider, code)
    if whole_description:
        sources = {service.description_source for service in chosen} - {""}
        chosen = tuple(s for s in configuration.services if s.provider == provider and s.description_source in sources)
        chosen = chosen or _known(configuration, provider, code)
    changed = tuple(map(change, chosen))
    await repository.upsert_services(changed)
    return changed


def enable(service: Service) -> Service:
    """The service switched on."""
    return replace(service, enabled=True, disabled_notice="")


def disable(notice: str) -> Callable[[Service], Service]:
    """A change that switches a service off; callers read the notice. Raises AdminError."""
    if len(notice) > _MAX_NOTICE or (notice and not notice.isprintable()):
        raise AdminError(f"--notice is one line of at most {_MAX_NOTICE} characters: callers read it")
    return lambda service: replace(service, enabled=False, disabled_notice=notice)


def settings_change(
    *,
    url: str | None = None,
    timeout_seconds: float | None = None,
    verify_tls: bool | None = None,
    insecure_plain_http: bool = False,
) -> Callable[[Service], Service]:
    """A change of what is given. Raises AdminError."""
    if url is not None:
        check_url(url, insecure_plain_http=insecure_plain_http)
    _check_timeout(timeout_seconds)

    def change(service: Service) -> Service:
        return replace(
            service,
            url=service.url if url is None else url,
            timeout_seconds=service.timeout_seconds if timeout_seconds is None else timeout_seconds,
            verify_tls=service.verify_tls if verify_tls is None else verify_tls,
        )

    return change


async def pins_of(repository: Repository, provider: SubsystemId, verify_tls: bool) -> Pins:
    """The certificates that a subsystem's services may show."""
    if not verify_tls:
        return None
    known = [client for client in await repository.clients() if client.identifier == provider]
    return known[0].certificates if known else frozenset()


# -- what descriptions say --


def _wsdl_services(provider: SubsystemId, description: Description, options: ServiceOptions) -> tuple[Service, ...]:
    services = []
    for operation in parse_wsdl(description.content):
        url = options.url or operation.address
        if not url:
            raise AdminError(f"--url: the WSDL has no soap:address for {operation.name}")
        service = _service(provider, operation.name, ServiceType.WSDL, replace(options, url=url))
        version = operation.version
        if version is not None:
            check_segment(version, f"the version of {operation.name}")
        services.append(_described(replace(service, version=version), description))
    return tuple(services)


async def _refresh_wsdl(
    repository: Repository,
    configuration: NodeConfiguration,
    service: Service,
    description: Description,
    *,
    insecure_plain_http: bool,
) -> tuple[RefreshReport, tuple[Service, ...]]:
    before = {s.identifier: s for s in _of_description(configuration, service)}
    options = ServiceOptions("", service.timeout_seconds, service.verify_tls, insecure_plain_http=True)
    now = []
    for found in _wsdl_services(service.provider, description, replace(options, url="")):
        known = before.get(found.identifier)
        # An operation that was there keeps its URL, its declaration, and whether it is switched on.
        now.append(found if known is None else _described(known, description))
    fresh = [s for s in now if s.identifier not in before]
    for new in fresh:
        # A new version of a code has the code's rights at once: the description alone must not lead data into the open.
        check_url(new.url, insecure_plain_http=insecure_plain_http)
    await _refuse_taken(repository, fresh)
    gone = [identifier for identifier in before if identifier not in {s.identifier for s in now}]
    codes = {s.key for s in now}
    lost = tuple(
        right
        for right in configuration.rights
        if right.service in {replace(identifier, service_version=None) for identifier in gone} - codes
    )
    await repository.upsert_services(now, removed=gone)
    added, removed = [_name(s.identifier) for s in fresh], [_name(identifier) for identifier in gone]
    return RefreshReport(description.source, tuple(sorted(added)), tuple(sorted(removed)), lost), tuple(now)


async def _refresh_openapi(
    repository: Repository, configuration: NodeConfiguration, service: Service, description: Description
) -> tuple[RefreshReport, tuple[Service, ...]]:
    generated = endpoints_of(service, read_openapi(description.content))
    before = [endpoint for endpoint in configuration.endpoints if endpoint.service == service.key]
    now = {(endpoint.method, endpoint.path) for endpoint in generated}
    removed = {(e.method, e.path) for e in before if e.generated} - now
    added = now - {(e.method, e.path) for e in before}
    lost = tuple(
        right
        for right in configuration.rights
        if right.service == service.key and (right.method, right.path) in removed
    )
    changed = _described(service, description)
    await repository.upsert_service(changed, generated=generated)
    report = RefreshReport(description.source, _texts(added), _texts(removed), lost)
    return report, (changed,)


def _texts(endpoints: set[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted(f"{method} {path}" for method, path in endpoints))


def _of_description(configuration: NodeConfiguration, service: Service) -> tuple[Service, ...]:
    return tuple(
        known
        for known in configuration.services
        if known.provider == service.provider
        and known.service_type is service.service_type
        and (
            known is service or (service.description_source and known.description_source == service.description_source)
        )
    )


def _server_url(server: str, source: str) -> str:
    """The first of an OpenAPI document's servers; a relative one counts from where the document is."""
    if "{" in server or not (server.startswith(("http://", "https://")) or source.startswith(("http://", "https://"))):
        raise AdminError("--url: the OpenAPI document doesn't say where the service is")
    return urljoin(source, server)


# -- checks --


def _service(provider: SubsystemId, code: str, service_type: ServiceType, options: ServiceOptions) -> Service:
    check_url(options.url, insecure_plain_http=options.insecure_plain_http)
    _check_timeout(options.timeout_seconds)
    return Service(
        provider,
        check_code(code),
        service_type,
        options.url,
        timeout_seconds=options.timeout_seconds,
        verify_tls=options.verify_tls,
    )


def _described(service: Service, description: Description) -> Service:
    return replace(
        service,
        description=description.content,
        description_source=description.source,
        description_type=description.content_type,
    )


def _check_timeout(seconds: float | None) -> None:
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise AdminError("--timeout is a number of seconds above 0")


async def _refuse_taken(repository: Repository, services: Sequence[Service]) -> None:
    stored = await repository.services()
    taken = {service.identifier for service in stored} & {service.identifier for service in services}
    # A code is either a SOAP service's, in its versions, or one REST service's: rights are given to the code.
    kinds = {service.key: service.service_type is ServiceType.WSDL for service in stored}
    mixed = {s.key for s in services if kinds.get(s.key, s.service_type is ServiceType.WSDL) is not _is_wsdl(s)}
    if taken or mixed:
        names = ", ".join(sorted(_name(identifier) for identifier in taken | mixed))
        raise AdminError(f"--code: {names} is registered already; use `datenweg service refresh` or `set`")


def _is_wsdl(service: Service) -> bool:
    return service.service_type is ServiceType.WSDL


async def _serve(repository: Repository, provider: SubsystemId) -> None:
    if provider not in {client.identifier for client in await repository.clients()}:
        await repository.upsert_client(Client(provider))


def _known(configuration: NodeConfiguration, provider: SubsystemId, code: str) -> tuple[Service, ...]:
    found = tuple(service for service in configuration.services if service.key == ServiceId(provider, code))
    if not found:
        raise AdminError(f"--code: no service {ServiceId(provider, code).encoded} at this gateway")
    return found


def _name(service: ServiceId) -> str:
    return service.service_code + ("" if service.service_version is None else f".{service.service_version}")
