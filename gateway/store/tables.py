"""The tables of a node's configuration, the same on SQLite and PostgreSQL.

Identifiers are stored in their encoded form (PR-REST 4.2). The citizen pages add tables of their own to `metadata`
(gateway/citizen/tables.py). Changes to a table need a migration (gateway/store/migrations).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from gateway.store.model import (
    ClientState,
    ConnectionType,
    ConsentStatus,
    LegalBasisKind,
    RequiredIdentityLevel,
    ServiceType,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(v.value) for v in values)})", name=column)


def _text(name: str, **options: Any) -> Column[str]:
    return Column(name, Text, nullable=False, **options)


client = Table(
    "client",
    metadata,
    _text("identifier", primary_key=True),
    _text("connection_type"),
    _text("state"),
    _one_of("connection_type", ConnectionType),
    _one_of("state", ClientState),
)

client_certificate = Table(
    "client_certificate",
    metadata,
    _text("client", primary_key=True),
    Column("der", LargeBinary, primary_key=True),
    ForeignKeyConstraint(["client"], ["client.identifier"], ondelete="CASCADE"),
)

# One document describes many services: it is kept once, under its digest.
service_description = Table(
    "service_description",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

service = Table(
    "service",
    metadata,
    _text("provider", primary_key=True),
    _text("code", primary_key=True),
    _text("version", primary_key=True),  # empty: a service without version
    _text("service_type"),
    _text("url"),
    Column("timeout_seconds", Float),
    Column("enabled", Boolean, nullable=False),
    _text("disabled_notice"),
    _text("title_de"),
    _text("title_en"),
    _text("purpose_de"),
    _text("purpose_en"),
    _text("legal_basis_kind"),
    _text("legal_basis"),
    Column("data_categories", JSON, nullable=False),
    _text("identity_level"),
    Column("verify_tls", Boolean, nullable=False),
    Column("description", LargeBinary),
    _text("description_source"),
    _text("description_type"),
    ForeignKeyConstraint(["description"], ["service_description.digest"]),
    _one_of("service_type", ServiceType),
    _one_of("legal_basis_kind", LegalBasisKind),
    _one_of("identity_level", RequiredIdentityLevel),
)

# Endpoints and rights belong to a service code, whatever the version: no foreign key can say so.
endpoint = Table(
    "endpoint",
    metadata,
    _text("provider", primary_key=True),
    _text("code", primary_key=True),
    _text("method", primary_key=True),
    _text("path", primary_key=True),
    Column("generated", Boolean, nullable=False),
)

access_right = Table(
    "access_right",
    metadata,
    _text("provider", primary_key=True),
    _text("code", primary_key=True),
    _text("subject", primary_key=True),
    _text("method", primary_key=True),
    _text("path", primary_key=True),
)

local_group = Table(
    "local_group",
    metadata,
    _text("owner", primary_key=True),
    _text("code", primary_key=True),
    _text("description"),
)

local_group_member = Table(
    "local_group_member",
    metadata,
    _text("owner", primary_key=True),
    _text("code", primary_key=True),
    _text("member", primary_key=True),
    ForeignKeyConstraint(["owner", "code"], ["local_group.owner", "local_group.code"], ondelete="CASCADE"),
)

consent_copy = Table(
    "consent_copy",
    metadata,
    _text("reference", primary_key=True),
    _text("client"),
    _text("subject"),
    _text("service"),
    Column("expires_ms", BigInteger, nullable=False),
    _text("status"),
    Column("sequence", BigInteger, nullable=False),
    _text("jws"),
    _text("identity_level"),
    _text("authority"),  # empty: not known
    _one_of("status", ConsentStatus),
    _one_of("identity_level", RequiredIdentityLevel),
)
Index(None, consent_copy.c.subject)

# What was handed over on consents of third parties and their consent service doesn't know yet. A row is written in the
# log's own transaction (`gateway.exchange.transmissions`).
transmission_report = Table(
    "transmission_report",
    metadata,
    _text("id", primary_key=True),
    _text("reference"),
    _text("authority"),
    _text("provider"),
    Column("at_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
)
Index(None, transmission_report.c.due_ms)

# One row per kind of change; raised in the same transaction as the change, polled by the running processes.
revision = Table(
    "revision",
    metadata,
    _text("kind", primary_key=True),
    Column("number", BigInteger().with_variant(Integer, "sqlite"), nullable=False),
)
