"""Registers a service at its provider's gateway: checks what the institution declares, stores it, grants access.

A declaration is what the citizen reads later, so nothing of it is optional: title and purpose in both languages, the
legal basis, the data categories. Running gateways see the change at their next poll of the store.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.admin.errors import AdminError
from gateway.admin.openapi import OpenAPIDescription, parse_openapi
from gateway.admin.wsdl import parse_wsdl
from gateway.exchange.directory import RESERVED_CODES
from gateway.settings import is_loopback
from gateway.store.model import (
    AccessRight,
    Client,
    Endpoint,
    LegalBasisKind,
    RequiredIdentityLevel,
    RightSubject,
    Service,
    ServiceType,
    format_right_subject,
    parse_right_subject,
)
from gateway.store.repository import Repository
from trust.identifiers import InvalidIdentifier, SubsystemId, decode_segment, parse_subsystem_id

_SEPARATORS: Final = "%:;/\\"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What an institution declares of a service, as typed in."""

    provider: str
    code: str
    url: str
    title_de: str
    title_en: str
    purpose_de: str
    purpose_en: str
    legal_basis_kind: LegalBasisKind
    legal_basis: str
    data_categories: tuple[str, ...]
    identity_level: RequiredIdentityLevel
    grants: tuple[str, ...] = ()
    openapi: bytes | None = None
    wsdl: bytes | None = None
    timeout_seconds: float | None = None
    insecure_plain_http: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """A declaration that holds: the service, who may use it, and the operations of its description."""

    service: Service
    grants: tuple[RightSubject, ...]
    operations: tuple[str, ...]
    endpoints: tuple[Endpoint, ...] = ()


def check_declaration(declaration: Declaration, *, instance: str) -> Registration:
    """The registration that a declaration asks for. Raises AdminError, which says what to change."""
    provider = _subsystem(declaration.provider, "--provider", instance)
    code = check_code(declaration.code)
    check_url(declaration.url, insecure_plain_http=declaration.insecure_plain_http)
    _check_texts(declaration)
    if declaration.legal_basis_kind is LegalBasisKind.CONSENT:
        # Only somebody who is known can consent.
        if declaration.identity_level is RequiredIdentityLevel.NONE:
            raise AdminError("--legal-basis-kind consent needs a citizen: choose an --identity-level other than none")
        if not declaration.data_categories:
            raise AdminError("--legal-basis-kind consent: name what is consented to with --data-category")
    timeout = declaration.timeout_seconds
    if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
        raise AdminError("--timeout is a number of seconds above 0")
    service_type, description, operations, version = _description(declaration, code)
    service = Service(
        provider=provider,
        code=code,
        service_type=service_type,
        url=declaration.url,
        title_de=declaration.title_de,
        title_en=declaration.title_en,
        purpose_de=declaration.purpose_de,
        purpose_en=declaration.purpose_en,
        legal_basis_kind=declaration.legal_basis_kind,
        legal_basis=declaration.legal_basis,
        data_categories=declaration.data_categories,
        identity_level=declaration.identity_level,
        timeout_seconds=declaration.timeout_seconds,
        description=description,
        version=version,
    )
    endpoints: tuple[Endpoint, ...] = ()
    if service.service_type is ServiceType.OPENAPI3:
        endpoints = endpoints_of(service, parse_openapi(service.description))
    return Registration(service, parse_grants(declaration.grants), operations, endpoints)


def endpoints_of(service: Service, description: OpenAPIDescription) -> tuple[Endpoint, ...]:
    """The endpoints that a description gives its service."""
    found = (Endpoint(service.key, o.method, o.glob, generated=True) for o in description.operations)
    return tuple(dict.fromkeys(found))


def parse_grants(texts: Sequence[str], option: str = "--grant") -> tuple[RightSubject, ...]:
    """Subsystems (`I/C/M/S`), global groups (`GLOBALGROUP:I/G`), local ones (`LOCALGROUP:G`). Raises AdminError."""
    try:
        return tuple(parse_right_subject(text) for text in texts)
    except InvalidIdentifier as error:
        raise AdminError(
            f"{option} is INSTANCE/CLASS/MEMBER/SUBSYSTEM, GLOBALGROUP:INSTANCE/GROUP or LOCALGROUP:GROUP: {error}"
        ) from None


async def take_rights(repository: Repository, *rights: AccessRight) -> None:
    """Takes rights away; durable when it returns. Raises AdminError if one isn't there: it may be mistyped."""
    given = (await repository.load()).rights
    for right in rights:
        if right not in given:
            raise AdminError(f"{format_right_subject(right.subject)} has no such right to {right.service.encoded}")
    await repository.revoke(*rights)


async def register(repository: Repository, registration: Registration) -> None:
    """Stores a registration; durable when it returns. Registering again replaces the service and keeps its rights.

    A provider that this gateway doesn't serve yet becomes a client of it.
    """
    service = registration.service
    if service.provider not in {client.identifier for client in await repository.clients()}:
        await repository.upsert_client(Client(service.provider))
    rights = [AccessRight(service.identifier, subject) for subject in registration.grants]
    await repository.upsert_service(service, grant_to=rights, generated=registration.endpoints)


def _subsystem(text: str, option: str, instance: str) -> SubsystemId:
    try:
        subsystem = parse_subsystem_id(text)
    except InvalidIdentifier as error:
        raise AdminError(f"{option} is INSTANCE/CLASS/MEMBER/SUBSYSTEM: {error}") from None
    if subsystem.instance != instance:
        raise AdminError(f"{option} belongs to another instance than this gateway ({instance})")
    return subsystem


def check_code(text: str) -> str:
    """A code that a service may have. Raises AdminError."""
    if text in RESERVED_CODES:
        raise AdminError("--code is the code of a service that every gateway answers itself")
    return check_segment(text, "--code")


def check_segment(text: str, option: str) -> str:
    """One part of an identifier without what PR-MESS 2.2 keeps out of new ones. Raises AdminError."""
    if set(text) & set(_SEPARATORS):
        raise AdminError(f"{option}: none of {_SEPARATORS} may be in it")
    try:
        return decode_segment(text)
    except InvalidIdentifier as error:
        raise AdminError(f"{option}: {error}") from None


def check_url(url: str, *, insecure_plain_http: bool) -> None:
    """Raises AdminError unless a service can be reached at the URL without leaving this machine in the clear."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or "@" in parts.netloc or " " in url or not url.isprintable():
        raise AdminError("--url is http(s)://HOST[:PORT][/PATH] without user, query or fragment")
    if parts.scheme == "http" and not is_loopback(parts.hostname or "") and not insecure_plain_http:
        raise AdminError("--url leaves this machine over plain HTTP: use https, or say --insecure-plain-http")


def _check_texts(declaration: Declaration) -> None:
    for option, text in (
        ("--title-de", declaration.title_de),
        ("--title-en", declaration.title_en),
        ("--purpose-de", declaration.purpose_de),
        ("--purpose-en", declaration.purpose_en),
        ("--legal-basis", declaration.legal_basis),
        *(("--data-category", category) for category in declaration.data_categories),
    ):
        if not text.strip() or len(text) > 1000 or not text.isprintable():
            raise AdminError(f"{option} is one line of 1 to 1000 characters: citizens read it")


def _description(declaration: Declaration, code: str) -> tuple[ServiceType, bytes, tuple[str, ...], str | None]:
    match declaration.openapi, declaration.wsdl:
        case (bytes() as openapi, None):
            operations = parse_openapi(openapi).operations
            return ServiceType.OPENAPI3, openapi, tuple(f"{o.method} {o.path}" for o in operations), None
        case (None, bytes() as wsdl):
            found = parse_wsdl(wsdl)
            names = tuple(dict.fromkeys(operation.name for operation in found))
            # PR-MESS 4.2: a SOAP service's code is the name of its operation, its version the operation's xrd:version.
            versions = [operation.version for operation in found if operation.name == code]
            if not versions:
                raise AdminError(f"--code is none of the WSDL's operations: {', '.join(names)}")
            if len(versions) > 1:
                raise AdminError(f"--wsdl has {len(versions)} versions of {code}: give a document with one of them")
            if versions[0] is not None:
                check_segment(versions[0], f"the version of {code}")
            return ServiceType.WSDL, wsdl, names, versions[0]
        case (None, None):
            return ServiceType.REST, b"", (), None
        case _:
            raise AdminError("give --openapi or --wsdl, not both")
