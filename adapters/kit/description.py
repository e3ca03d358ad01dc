"""A service's description: the OpenAPI document that ships with the adapter, and what it declares to citizens.

The extension `x-datenweg` of the document's `info` holds the declaration: purpose, legal basis, data categories,
identity level. An operator registers exactly this at the provider gateway, and a citizen reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from adapters.kit.errors import InternalError, Text
from adapters.kit.fields import Fields, parse_json
from adapters.kit.problems import INTERNAL


@dataclass(frozen=True, slots=True)
class ServiceDescription:
    """What is registered for one service."""

    service_code: str
    title: Text
    purpose: Text
    legal_basis_kind: str
    legal_basis: str
    data_categories: tuple[str, ...]
    identity_level: str
    document: bytes


def load_description(package: str) -> ServiceDescription:
    """The description that ships in `package` as openapi.json."""
    document = files(package).joinpath("openapi.json").read_bytes()
    declared = Fields(parse_json(document), _broken).object("info").object("x-datenweg")
    return ServiceDescription(
        service_code=declared.text("serviceCode"),
        title=_text(declared.object("title")),
        purpose=_text(declared.object("purpose")),
        legal_basis_kind=declared.object("legalBasis").text("kind"),
        legal_basis=declared.object("legalBasis").text("text"),
        data_categories=tuple(category.text("code") for category in declared.objects("dataCategories")),
        identity_level=declared.text("identityLevel"),
        document=document,
    )


def _text(fields: Fields) -> Text:
    return Text(fields.text("de", maximum=1000), fields.text("en", maximum=1000))


def _broken(field: str) -> Exception:
    return InternalError(INTERNAL, fields=(field,))
