"""One access to a citizen's data, read from a log's record, and two logs' records of it made one. A core.

Every text in a record is somebody else's: bounded here, escaped where it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

ACCESSES: Final = "datenwegAccesses"
# Our own gateway's log, read under the city's pseudonym; under a provider's it is `own:` and the provider's member.
OWN_LOG: Final = "own"
RESULTS: Final = ("delivered", "denied", "failed")
_BUILT_IN: Final = (ACCESSES, "datenwegConsent", "datenwegServices")
# The consent service's, which only our own log tells of. Elsewhere an institution may use these codes.
_CONSENT_SERVICE: Final = ("consent", "reporting")
_BASES: Final = ("consent", "law", "contract", "not_declared")
_LEVELS: Final = ("low", "substantial", "high")
_ROLES: Final = ("parent", "guardian")
_MAX_TEXT: Final = 2_000


@dataclass(frozen=True, slots=True)
class Access:
    """One exchange that touched the citizen's data.

    `key` is the leaf hash (hexadecimal) of the record that is shown; `logs` are the logs (`Source.key`) that hold one,
    `recorded_by` their keepers' names, empty for our own gateway. `released`: the law kept it from the citizen first.
    """

    key: str
    time_ms: int
    request_digest: str
    message_id: str
    request_id: str
    client: str
    provider: str
    service: str
    built_in: str
    titles: Mapping[str, str]
    purposes: Mapping[str, str]
    basis_kind: str
    basis: str
    data_categories: tuple[str, ...]
    consent: str
    result: str
    reason: str
    identity_level: str
    representative: str
    occasion: str
    system: str
    released: bool
    logs: tuple[str, ...]
    recorded_by: tuple[str, ...]
    record: Mapping[str, Any]

    @property
    def time(self) -> str:
        return datetime.fromtimestamp(self.time_ms / 1000, UTC).isoformat(timespec="milliseconds")

    @property
    def exchange(self) -> tuple[str, str]:
        """What two gateways' records of one exchange have in common, and no client can choose.

        The signed request's digest; the service too, so that no institution's record hides in another's.
        """
        return self.request_digest, self.service

    @property
    def denied(self) -> bool:
        return self.result == "denied"

    @property
    def own_look(self) -> bool:
        """Whether the citizen, or who acts for them, looked into a log: an access too, and one that soon outnumbers all
        others."""
        return self.built_in == ACCESSES and self.result == "delivered"

    @property
    def behalf(self) -> str:
        """On whose behalf the data were asked for, as a word.

        The city's gateway only names an identity level after it verified the citizen's own token.
        """
        if self.representative:
            return "represented"
        return "citizen" if self.identity_level else "institution"

    @property
    def address(self) -> list[tuple[str, str]]:
        """The query of this access's own page: the logs that hold it."""
        return [("log", log) for log in self.logs]

    def title(self, language: str) -> str:
        return _in_language(self.titles, language) or self.service

    def purpose(self, language: str) -> str:
        return _in_language(self.purposes, language)

    def as_json(self) -> dict[str, Any]:
        """The API's and the export's form."""
        return {
            "key": self.key,
            "time": self.time,
            "messageId": self.message_id,
            "requestId": self.request_id,
            "client": self.client,
            "onBehalfOf": self.behalf,
            "representative": (self.representative or None) if self.behalf == "represented" else None,
            "provider": self.provider,
            "service": self.service,
            "title": dict(self.titles),
            "purpose": dict(self.purposes),
            "legalBasis": {"kind": self.basis_kind or None, "text": self.basis or None},
            "dataCategories": list(self.data_categories),
            "consent": self.consent or None,
            "result": self.result,
            "reason": self.reason or None,
            "occasion": self.occasion or None,
            "system": self.system or None,
            "released": self.released,
            "recordedBy": [name or None for name in self.recorded_by],
        }


def read_access(
    record: Mapping[str, Any], names: Mapping[str, str], *, key: str, time_ms: int, log: str, recorded_by: str
) -> Access:
    """The access in a record that its log commits to. Whatever isn't as expected is left out.

    `names` are what the citizen knows institutions by, by their identifiers; others have the name in the record.
    """
    service, basis = _object(record, "service"), _object(record, "legalBasis")
    identifier = _text(service, "id")
    code = identifier.rsplit("/", 1)[-1]
    categories = record.get("dataCategories")
    return Access(
        key=key,
        time_ms=time_ms,
        request_digest=_text(record, "requestDigest"),
        message_id=_text(record, "messageId"),
        request_id=_text(record, "requestId"),
        client=_named(record, "client", names),
        provider=_named(record, "provider", names),
        service=identifier,
        built_in=code if code in _BUILT_IN or _is_consent_service(record, code, log) else "",
        titles=_texts(service, "title"),
        purposes=_texts(record, "purpose"),
        basis_kind=_one_of(basis, "kind", _BASES),
        basis=_text(basis, "text"),
        data_categories=tuple(str(c)[:200] for c in categories[:50]) if isinstance(categories, list) else (),
        consent=_text(record, "consent"),
        result=_one_of(record, "result", RESULTS) or "unknown",
        reason=_text(record, "reason"),
        identity_level=_one_of(record, "identityLevel", _LEVELS),
        representative=_one_of(record, "representative", _ROLES),
        occasion=_text(record, "occasion"),
        system=_text(record, "system"),
        released="withheld" in record,
        logs=(log,),
        recorded_by=(recorded_by,),
        record=record,
    )


def _is_consent_service(record: Mapping[str, Any], code: str, log: str) -> bool:
    """Whether our own gateway answered by its consent service: a registered service's record states a legal basis."""
    ours = log.partition(":")[0] == OWN_LOG and record.get("role") == "provider"
    return ours and code in _CONSENT_SERVICE and "legalBasis" not in record


def merge_accesses(first: Access, second: Access) -> Access:
    """One exchange from two logs: the provider's record says more (it has the declaration), both are named."""
    fuller = first if first.titles or first.basis_kind or first.built_in else second
    return replace(
        fuller,
        logs=tuple(dict.fromkeys((*first.logs, *second.logs))),
        recorded_by=tuple(dict.fromkeys((*first.recorded_by, *second.recorded_by))),
        time_ms=min(first.time_ms, second.time_ms),
    )


def _in_language(texts: Mapping[str, str], language: str) -> str:
    return texts.get(language) or texts.get("de") or ""


def _named(record: Mapping[str, Any], field: str, names: Mapping[str, str]) -> str:
    party = _object(record, field)
    identifier = _text(party, "id")
    return names.get(identifier) or _text(party, "name") or identifier


def _object(record: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = record.get(field)
    return value if isinstance(value, dict) else {}


def _texts(record: Mapping[str, Any], field: str) -> Mapping[str, str]:
    value = _object(record, field)
    return {language: text for language in ("de", "en") if (text := _text(value, language))}


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _one_of(record: Mapping[str, Any], field: str, known: tuple[str, ...]) -> str:
    value = record.get(field)
    return value if isinstance(value, str) and value in known else ""
