"""How the access log is looked through: filtered, searched, grouped by month and institution, in pages. A core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from gateway.citizen.access import RESULTS, Access
from gateway.citizen.accesses import AccessView, is_month
from gateway.citizen.errors import InvalidRequest
from gateway.citizen.texts import TEXTS, categories_text, text

# How many months a look may span; each asks every log once.
SPANS: Final = (1, 3, 12)
# What the result may be filtered by: as in the record, and what the law kept back at first.
RESULT_CHOICES: Final = (*RESULTS, "released")
ORDERS: Final = ("institution", "time")
_PAGE_ENTRIES: Final = 100
_MAX_SEARCH: Final = 200
_MAX_PAGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Look:
    """What the citizen wants to see of the access log, as it stands in the page's address."""

    month: str
    span: int = 1
    institution: str = ""
    result: str = ""
    search: str = ""
    order: str = "institution"
    own: bool = False
    page: int = 1

    @property
    def is_narrowed(self) -> bool:
        """Whether something that was found isn't shown."""
        return bool(self.institution or self.result or self.search)

    def query(self, **changes: str | int) -> dict[str, str]:
        """The address of this look, with changes; what is as usual is left out."""
        usual: dict[str, str | int] = {
            "span": 1,
            "institution": "",
            "result": "",
            "q": "",
            "order": "institution",
            "own": "",
            "page": 1,
        }
        stated: dict[str, str | int] = {
            "span": self.span,
            "institution": self.institution,
            "result": self.result,
            "q": self.search,
            "order": self.order,
            "own": "1" if self.own else "",
            "page": 1,
        }
        chosen = stated | changes
        return {"month": self.month} | {name: str(value) for name, value in chosen.items() if value != usual[name]}


@dataclass(frozen=True, slots=True)
class Group:
    """Accesses that stand under one heading; the institution's name is empty where they are ordered by time."""

    month: str
    institution: str
    accesses: tuple[Access, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a look shows. `own_looks` were left out; `found` were before filters; `selected` are those of all pages."""

    found: int
    own_looks: int
    selected: tuple[Access, ...]
    groups: tuple[Group, ...]
    institutions: tuple[str, ...]
    pages: int


def read_look(query: Mapping[str, str], months: Sequence[str]) -> Look:
    """The look that an address asks for. `months`: those with records, newest first. Raises InvalidRequest."""
    month = query.get("month", months[0])
    if not is_month(month):
        raise InvalidRequest("month")
    search, institution = query.get("q", "").strip(), query.get("institution", "")
    if len(search) > _MAX_SEARCH or len(institution) > _MAX_SEARCH:
        raise InvalidRequest("q")
    result, order = query.get("result", ""), query.get("order", "institution")
    if result not in ("", *RESULT_CHOICES) or order not in ORDERS:
        raise InvalidRequest("result" if order in ORDERS else "order")
    return Look(
        month=month,
        span=_number(query, "span", SPANS),
        institution=institution,
        result=result,
        search=search,
        order=order,
        own=query.get("own") == "1",
        page=_number(query, "page", range(1, _MAX_PAGES + 1)),
    )


def months_of(look: Look, months: Sequence[str]) -> tuple[str, ...]:
    """The months of a look, newest first: the chosen one and those before it of which records exist."""
    if look.month not in months:
        return (look.month,)
    at = months.index(look.month)
    return tuple(months[at : at + look.span])


def build_listing(views: Sequence[AccessView], look: Look, language: str) -> Listing:
    """What of these months a look shows."""
    everything = [(view.month, access) for view in views for access in view.accesses]
    others = [(month, access) for month, access in everything if look.own or not access.own_look]
    selected = [(month, access) for month, access in others if _is_meant(access, look, language)]
    first = (look.page - 1) * _PAGE_ENTRIES
    return Listing(
        found=len(others),
        own_looks=len(everything) - len(others),
        selected=tuple(access for _, access in selected),
        groups=tuple(_groups(selected[first : first + _PAGE_ENTRIES], look.order)),
        institutions=tuple(sorted({access.provider for _, access in others} | {a.client for _, a in others})),
        pages=max(1, -(-len(selected) // _PAGE_ENTRIES)),
    )


def title_of(access: Access, language: str) -> str:
    """What an access was, in words: the service's title, or our own for what belongs to the road itself."""
    if access.own_look and access.representative:
        return text("builtin_represented_look", language)
    return text(f"builtin_{access.built_in}", language) if access.built_in else access.title(language)


def basis_of(access: Access, language: str) -> str:
    """The legal basis in words."""
    kind = text(f"basis_{access.basis_kind}" if access.basis_kind else "not_stated", language)
    return f"{kind}: {access.basis}" if access.basis else kind


def behalf_of(access: Access, language: str) -> str:
    """On whose behalf the data were asked for, in words."""
    key = f"behalf_{access.representative}" if access.behalf == "represented" else f"behalf_{access.behalf}"
    return text(key, language, client=access.client or text("not_stated", language))


def explain_access(access: Access, language: str) -> tuple[str, ...]:
    """What happened, why it was allowed or refused, and what the citizen can do: sentences in plain language."""
    client, provider = (name or text("an_institution", language) for name in (access.client, access.provider))
    lines = [text(f"happened_{access.result}", language, client=client, provider=provider)]
    if access.own_look:
        lines.append(text("why_represented_look" if access.representative else "why_own_look", language))
    elif access.result == "delivered":
        lines.append(text(f"why_{access.basis_kind or 'not_declared'}", language, provider=provider))
    else:
        fault = f"fault_{access.reason.rpartition('.')[2]}"
        lines.append(text(fault if fault in TEXTS else f"why_{access.result}", language, provider=provider))
    if access.released:
        lines.append(text("why_released", language))
    return tuple(lines)


def _number(query: Mapping[str, str], name: str, allowed: Sequence[int]) -> int:
    stated = query.get(name, "1")
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 4 and int(stated) in allowed):
        raise InvalidRequest(name)
    return int(stated)


def _is_meant(access: Access, look: Look, language: str) -> bool:
    if look.institution and look.institution not in (access.provider, access.client):
        return False
    if look.result and not (access.released if look.result == "released" else access.result == look.result):
        return False
    words = look.search.casefold().split()
    if not words:
        return True
    spoken = (
        title_of(access, language),
        access.purpose(language),
        access.client,
        access.provider,
        access.service,
        basis_of(access, language),
        categories_text(access.data_categories, language),
        access.reason,
        access.request_id,
        access.consent,
        access.occasion,
        access.time[:10],
    )
    haystack = "\n".join(spoken).casefold()
    return all(word in haystack for word in words)


def _groups(entries: Sequence[tuple[str, Access]], order: str) -> Iterator[Group]:
    for month, of_month in groupby(entries, key=lambda entry: entry[0]):
        accesses = [access for _, access in of_month]
        if order == "time":
            yield Group(month, "", tuple(accesses))
            continue
        # The institution of the newest access first.
        for institution in dict.fromkeys(access.provider for access in accesses):
            yield Group(month, institution, tuple(a for a in accesses if a.provider == institution))
