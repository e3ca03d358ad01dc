"""Values as the API's JSON, in the words of `openapi.yaml`. A core."""

from __future__ import annotations

from typing import Any

from gateway.citizen.catalogue import OfferedService
from gateway.citizen.complaints import Complaint
from gateway.citizen.consent import Consent
from gateway.citizen.consent_requests import Asked, ConsentRequest
from gateway.citizen.devices import Device
from gateway.citizen.links import Link
from gateway.citizen.notice_channels import Choice, Subscribed
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
        "extendable": consent.extendable,
        "byRepresentative": bool(consent.representative),
        "events": [
            {"state": event.state.value, "atMs": event.at_ms, "byRepresentative": bool(event.representative)}
            for event in consent.events
        ],
        "transmissions": {
            "count": consent.transmitted.count,
            "latestMs": list(consent.transmitted.latest_ms),
        },
    }


def consent_request_json(request: ConsentRequest) -> dict[str, Any]:
    """What an institution asks for."""
    return {
        "reference": request.reference,
        "client": request.client,
        "callback": request.callback,
        "represented": request.represented or None,
        "consents": [_asked_json(one) for one in request.asked],
    }


def _asked_json(asked: Asked) -> dict[str, Any]:
    purpose, service = asked.declared.purpose, asked.declared.service
    return {
        "reference": asked.consent.reference,
        "purpose": purpose.id,
        "title": service.texts.name,
        "description": service.texts.description,
        "service": service.service.encoded,
        "provider": service.provider.encoded,
        "recipient": {
            "id": purpose.client.encoded,
            "name": purpose.texts.recipient_name,
            "tradeName": purpose.texts.trade_name or None,
        },
        "purposeTexts": {"de": purpose.texts.purpose("de"), "en": purpose.texts.purpose("en")},
        "privacyUrl": purpose.texts.privacy_url,
        "dataCategories": list(service.texts.data_categories),
        "controller": service.texts.controller_name or None,
        "processor": service.texts.processor_name or None,
        "identityLevel": service.required_level.word,
        "expiresMs": asked.expires_ms,
    }


def notice_channel_json(choice: Choice) -> dict[str, Any]:
    """A way out of the page."""
    return {
        "channel": choice.channel.value,
        "address": choice.address or None,
        "confirmed": choice.confirmed,
        "language": choice.language,
        "detailed": choice.detailed,
        "kinds": sorted(kind.value for kind in choice.kinds),
    }


def push_subscription_json(subscribed: Subscribed) -> dict[str, Any]:
    """A browser or app that is told."""
    return {"id": subscribed.id, "createdMs": subscribed.created_ms}


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
