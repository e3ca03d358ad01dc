"""The citizen's tables, on the metadata of the node's configuration.

A person stands here only as a pseudonym under the city's own member (`person`); name and subject of a session are
sealed under a key that only the browser's cookie holds, so that a copy of the database opens no session.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from gateway.store.tables import metadata

# A login that has begun: gone when it is answered, or ten minutes later.
login = Table(
    "citizen_login",
    metadata,
    Column("state", LargeBinary, primary_key=True),
    Column("nonce", Text, nullable=False),
    Column("verifier", Text, nullable=False),
    Column("return_to", Text, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

session = Table(
    "citizen_session",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

consent = Table(
    "citizen_consent",
    metadata,
    Column("reference", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("declaration", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("given_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("acknowledged", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_push_ms", BigInteger, nullable=False),
    Column("jws", Text, nullable=False),
    CheckConstraint("status IN ('pending', 'valid', 'withdrawing', 'withdrawn', 'expired')", name="status"),
)
Index(None, consent.c.person)
# At most one consent in force per person and purpose, whatever two browsers do at once.
Index(
    "uq_citizen_consent_in_force",
    consent.c.person,
    consent.c.purpose,
    unique=True,
    sqlite_where=consent.c.status.in_(("pending", "valid")),
    postgresql_where=consent.c.status.in_(("pending", "valid")),
)

consent_event = Table(
    "citizen_consent_event",
    metadata,
    Column("reference", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(["reference"], ["citizen_consent.reference"], ondelete="CASCADE"),
)
