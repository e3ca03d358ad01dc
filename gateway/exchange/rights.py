"""What a verified request must satisfy at the provider gateway, in this order (DESIGN section 4, step 7).

    service exists ► type ► access right ► enabled ► identity level ► consent or legal basis ► quota

Each check is one function over the same facts; it returns nothing and raises the Fault that X-Road's table or our own
(docs/errors.md) has for it. The order is security: a client without a right doesn't learn whether a service is
switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.exchange.consents import covers
from gateway.exchange.directory import BuiltIn, Directory, Offer
from gateway.exchange.quotas import Quotas
from gateway.messages.faults import Fault
from gateway.messages.headers import IdentityLevel
from gateway.messages.paths import PathRefused, normalise_path
from gateway.store.model import ConsentCopy, ConsentStatus, RequiredIdentityLevel
from trust.identifiers import ClientId, GlobalGroupId, MemberId, ServiceId, SubsystemId

_LEVELS: Final = {
    required: IdentityLevel.from_word(required.value)
    for required in RequiredIdentityLevel
    if required is not RequiredIdentityLevel.NONE
}


@dataclass(frozen=True, slots=True)
class Demand:
    """The facts of a verified request that decide whether it may pass.

    `method` and `path` (raw, after the service code) are a REST request's; None for SOAP.
    """

    client: ClientId
    client_groups: frozenset[GlobalGroupId]
    service: ServiceId
    subjects: Sequence[str]
    identity_level: IdentityLevel | None
    consent: str | None
    consent_copy: ConsentCopy | None
    at_ms: int
    method: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What this gateway decides by."""

    directory: Directory
    consent_authorities: frozenset[MemberId]
    quotas: Quotas
    data_tracker_clients: frozenset[SubsystemId] = frozenset()


def _service_exists(demand: Demand, offer: Offer, policy: Policy) -> None:
    if policy.directory.client(offer.identifier.provider) is None:
        raise Fault("server.serverproxy.unknown_member", str(offer.identifier.provider))


def _type(demand: Demand, offer: Offer, policy: Policy) -> None:
    # A built-in service says itself in which form it answers.
    if offer.registered is not None and offer.is_rest is (demand.method is None):
        raise Fault("server.serverproxy.service_type", str(demand.service))


def _access_right(demand: Demand, offer: Offer, policy: Policy) -> None:
    match offer.built_in:
        case None:
            subjects = policy.directory.subjects_of(demand.client, demand.client_groups, offer.identifier.provider)
            if offer.may_be_used(subjects, demand.method, _path(demand)):
                return
        case BuiltIn.SERVICES | BuiltIn.LIST_METHODS | BuiltIn.ALLOWED_METHODS | BuiltIn.GET_OPENAPI | BuiltIn.GET_WSDL:
            # PR-META: whoever is a registered member may ask what there is.
            return
        case BuiltIn.OPERATIONAL_DATA | BuiltIn.HEALTH_DATA | BuiltIn.METRICS:
            # PR-OPMON 2: whoever asks gets what concerns it; how much that is, the answer decides.
            return
        case BuiltIn.CONSENT_SERVICE | BuiltIn.REPORTING:
            # Each call is about declarations and consents of the calling subsystem alone: the service looks which.
            if isinstance(demand.client, SubsystemId):
                return
        case BuiltIn.FIND_USAGE:
            if demand.client in policy.data_tracker_clients:
                return
        case BuiltIn.CONSENT | BuiltIn.ACCESSES:
            if demand.client.member in policy.consent_authorities:
                return
    raise Fault("server.serverproxy.access_denied", str(demand.service))


def _path(demand: Demand) -> str | None:
    if demand.path is None:
        return None
    try:
        return normalise_path(demand.path)
    except PathRefused:
        # As X-Road since 7.7.1: nobody has a right to a path that leads out of the service.
        raise Fault("server.serverproxy.access_denied", "the path leads out of the service") from None


def _enabled(demand: Demand, offer: Offer, policy: Policy) -> None:
    if offer.registered is not None and not offer.registered.enabled:
        raise Fault("server.serverproxy.service_disabled", offer.registered.disabled_notice)


def _identity_level(demand: Demand, offer: Offer, policy: Policy) -> None:
    required = offer.identity_level
    if required is RequiredIdentityLevel.NONE:
        return
    level = demand.identity_level or _level_of_consent(demand, offer)
    if level is None or not level.reaches(_LEVELS[required]):
        raise Fault("server.serverproxy.identity_level_too_low", f"required: {required.value}")


def _level_of_consent(demand: Demand, offer: Offer) -> IdentityLevel | None:
    """How surely a third party's consent was given. The person isn't there when it is used: what counts is who gave it.

    The application in which citizens decide can have their login itself: for its own requests that alone counts.
    """
    copy = demand.consent_copy
    if copy is None or not offer.needs_consent or not copy.is_for_third_party or len(demand.subjects) != 1:
        return None
    if copy.identity_level is RequiredIdentityLevel.NONE:
        return None
    if not covers(copy, client=demand.client, subject=demand.subjects[0], service=demand.service):
        return None
    return _LEVELS[copy.identity_level]


def consent_or_legal_basis(demand: Demand, offer: Offer, policy: Policy) -> None:
    """`require_consent` of the consent as it was when the request came."""
    require_consent(demand, offer, demand.consent_copy, demand.at_ms)


def require_consent(demand: Demand, offer: Offer, copy: ConsentCopy | None, at_ms: int) -> None:
    """The check that is made again before data leaves: a consent may be withdrawn while the service works.

    `copy` is the consent as it is known at `at_ms`.
    """
    if not offer.needs_consent:
        # The service's legal basis (law or contract) is recorded with the access; if a consent is named beside it, it
        # is not needed.
        return
    if demand.consent is None:
        raise Fault("server.serverproxy.consent_required", str(demand.service))
    if len(demand.subjects) != 1:
        raise Fault("server.serverproxy.subject_required", "a consent speaks for exactly one person")
    if copy is None or not covers(copy, client=demand.client, subject=demand.subjects[0], service=demand.service):
        # One answer for an unknown and a foreign consent: nobody learns which references exist.
        raise Fault("server.serverproxy.consent_invalid")
    if copy.status is ConsentStatus.WITHDRAWN:
        raise Fault("server.serverproxy.consent_withdrawn")
    if copy.expires_ms <= at_ms:
        raise Fault("server.serverproxy.consent_expired")


def _quota(demand: Demand, offer: Offer, policy: Policy) -> None:
    wait_ms = policy.quotas.take(demand.client, demand.service, demand.at_ms)
    if wait_ms > 0:
        raise Fault("server.serverproxy.quota_exceeded", str(demand.service), retry_after_ms=wait_ms)


# The codes by which a provider gateway denies. Whatever else it answers, it failed: a citizen reads the difference.
DENIALS: Final = frozenset(
    f"server.serverproxy.{leaf}"
    for leaf in (
        "unknown_member",
        "unknown_service",
        "service_type",
        "access_denied",
        "service_disabled",
        "identity_level_too_low",
        "consent_required",
        "subject_required",
        "consent_invalid",
        "consent_withdrawn",
        "consent_expired",
        "quota_exceeded",
    )
)

Check = Callable[[Demand, Offer, Policy], None]

RIGHTS: Final[tuple[Check, ...]] = (
    _service_exists,
    _type,
    _access_right,
    _enabled,
    _identity_level,
    consent_or_legal_basis,
    _quota,
)


def authorise(demand: Demand, policy: Policy) -> Offer:
    """The offer that the request may use. Raises Fault with the code of the first check that it fails."""
    offer = policy.directory.offer(demand.service)
    if offer is None:
        if policy.directory.client(demand.service.provider) is None:
            raise Fault("server.serverproxy.unknown_member", str(demand.service.provider))
        if policy.directory.has_code(demand.service, rest=demand.method is None):
            # The code is there, of the other kind: over REST nobody can name the version of a SOAP service.
            raise Fault("server.serverproxy.service_type", str(demand.service))
        raise Fault("server.serverproxy.unknown_service", str(demand.service))
    for check in RIGHTS:
        check(demand, offer, policy)
    return offer
