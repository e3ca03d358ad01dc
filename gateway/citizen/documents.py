"""Values as the API's JSON, in the words of `openapi.yaml`. A core."""

from __future__ import annotations

from typing import Any

from gateway.citizen.catalogue import OfferedService
from gateway.citizen.complaints import Complaint
from gateway.citizen.consent import Consent
from gateway.citizen.devices import Device
from gateway.citizen.links import Link
from gateway.citizen.notices import Notice
from gateway.exchange.representation import Represented


def service_json(service: OfferedService) -> dict[str, Any]:
    """A service of the catalogue: both halves of its declaration."""
    purpose, declaration = service.purpose, service.declaration
    return {
        "key": service.key,
        "service": purpose.service.encoded,
        "category": purpose.shown_category,
        "provider": {"id": purpose.service.provider.encoded, "name": purpose.provider_name},
        "title": {"de": declaration.title("de"), "en": declaration.title("en")},
        "providerPurpose": {"de": declaration.purpose("de"), "en": declaration.purpose("en")},
        "purpose": {"de": purpose.text("de"), "en": purpose.text("en")},
        "legalBasis": {"kind": declaration.legal_basis_kind.value, "text": declaration.legal_basis},
        "dataCategories": list(declaration.data_categories),
        "identityLevel": declaration.identity_level.value,
        "enabled": declaration.enabled,
        "validityDays": purpose.validity_days if declaration.needs_consent else None,
    }


def consent_json(consent: Consent) -> dict[str, Any]:
    """A decision. `lapsesMs`: by when a provider that doesn't know of the newest state yet ends its copy by itself."""
    return {
        "reference": consent.reference,
        "purpose": consent.purpose,
        "service": consent.service,
        "client": consent.client,
        "state": consent.state.value,
        "acknowledged": consent.provider_knows,
        "givenMs": consent.given_ms,
        "expiresMs": consent.expires_ms,
        "lapsesMs": None if consent.provider_knows else consent.expires_ms,
        "events": [{"state": event.state.value, "atMs": event.at_ms} for event in consent.events],
    }


def represented_json(represented: Represented) -> dict[str, Any]:
    """Somebody whom the citizen may act for; no identifier of theirs but the reference."""
    return {
        "reference": represented.reference,
        "role": represented.role,
        "name": represented.name,
        "untilMs": represented.until_ms,
    }


def device_json(device: Device, *, current: str) -> dict[str, Any]:
    """A device. `current`: the thumbprint of the one that asks."""
    return {
        "id": device.id,
        "kind": device.kind,
        "name": device.name,
        "current": device.thumbprint == current,
        "createdMs": device.created_ms,
        "seenMs": device.seen_ms,
        "revokedMs": device.revoked_ms,
    }


def link_json(link: Link) -> dict[str, Any]:
    """A linked account."""
    return {
        "id": link.id,
        "service": link.service,
        "provider": link.provider,
        "label": link.label,
        "state": link.state,
        "createdMs": link.created_ms,
        "endedMs": link.ended_ms,
    }


def notice_json(notice: Notice) -> dict[str, Any]:
    """A notice."""
    return {
        "id": notice.id,
        "kind": notice.kind.value,
        "facts": dict(notice.facts),
        "atMs": notice.at_ms,
        "readMs": notice.read_ms,
    }


def complaint_json(complaint: Complaint) -> dict[str, Any]:
    """A complaint, with the answer once there is one."""
    return {
        "id": complaint.id,
        "state": complaint.state,
        "text": complaint.text,
        "about": dict(complaint.about),
        "answer": complaint.answer or None,
        "atMs": complaint.at_ms,
        "answeredMs": complaint.answered_ms,
    }
