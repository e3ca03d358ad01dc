"""The citizen's tables, on the metadata of the node's configuration.

A person stands here only as a pseudonym under the city's own member (`person`); name and subject of a session are
sealed under a key that only the browser's cookie holds, so that a copy of the database opens no session.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
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
    Column("level", Text, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

session = Table(
    "citizen_session",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    # What the issuer's back-channel logout and the citizen's own list of devices end it by.
    Column("person", Text, nullable=False),
    Column("issuer_session", Text, nullable=False),
    Column("device", Text, nullable=False),
)
Index(None, session.c.person)

# A browser or an app's key that a person logs in with. Revoked ones stay, so that their keys stay refused.
device = Table(
    "citizen_device",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("thumbprint", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    CheckConstraint("kind IN ('app', 'browser')", name="kind"),
)
Index("uq_citizen_device_key", device.c.person, device.c.thumbprint, unique=True)

# Signed statements that count once: DPoP proofs and logout tokens. Gone when they would have expired.
used_statement = Table(
    "citizen_used_statement",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("expires_ms", BigInteger, nullable=False),
)
Index(None, used_statement.c.expires_ms)

# `sealed`: what the citizen wrote and what they were answered, under the city's key.
complaint = Table(
    "citizen_complaint",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("answered_ms", BigInteger),
    CheckConstraint("state IN ('received', 'answered')", name="state"),
)
Index(None, complaint.c.person)

# Who may act for whom, registered by the city. `sealed`: the represented person, under the city's key.
relation = Table(
    "citizen_relation",
    metadata,
    Column("reference", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    CheckConstraint("role IN ('parent', 'guardian')", name="role"),
)
Index(None, relation.c.person)

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
    # Of a consent that an institution asked for: how it names the person, and what it is about. Empty for our own.
    Column("client_subject", Text, nullable=False),
    Column("identity_level", Text, nullable=False),
    Column("service_declaration", Text, nullable=False),
    Column("group_reference", Text, nullable=False),
    # Who decided in the person's place, as a pseudonym at the city; empty for themselves.
    Column("representative", Text, nullable=False),
    # Why it ended, apart from the state (the Estonian service keeps it apart, too).
    Column("reason", Text, nullable=False),
    CheckConstraint(
        "status IN ('requested', 'pending', 'valid', 'declined', 'withdrawing', 'withdrawn', 'expired')",
        name="status",
    ),
)
Index(None, consent.c.person)
# At most one consent in force per person, recipient and purpose, whatever two browsers do at once.
Index(
    "uq_citizen_consent_in_force",
    consent.c.person,
    consent.c.client,
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
    # Who did it in the person's place, as a pseudonym at the city; empty for themselves.
    Column("representative", Text, nullable=False),
    ForeignKeyConstraint(["reference"], ["citizen_consent.reference"], ondelete="CASCADE"),
)

# -- declarations, requests and reports of the consent service ---------------------------------------------------------

# What a provider offers on consent, and for how long at most. Never deleted: consents refer to it.
service_declaration = Table(
    "citizen_service_declaration",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("content", JSON, nullable=False),
    Column("max_days", Integer, nullable=False),
    Column("extension_allowed", Boolean, nullable=False),
    Column("expires_ms", BigInteger),
    Column("status", Text, nullable=False),
    Column("declared_ms", BigInteger, nullable=False),
    CheckConstraint("status IN ('VALID', 'INVALID')", name="status"),
)

# What a recipient wants the data of one service declaration for.
purpose_declaration = Table(
    "citizen_purpose_declaration",
    metadata,
    Column("id", Text, primary_key=True),
    Column("client", Text, nullable=False),
    Column("service_declaration", Text, nullable=False),
    Column("content", JSON, nullable=False),
    Column("expires_ms", BigInteger),
    Column("status", Text, nullable=False),
    Column("declared_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(["service_declaration"], ["citizen_service_declaration.id"]),
    CheckConstraint("status IN ('VALID', 'INVALID')", name="status"),
)

# One link for one decision about one or more consents.
consent_group = Table(
    "citizen_consent_group",
    metadata,
    Column("reference", Text, primary_key=True),
    Column("client", Text, nullable=False),
    # Who may open it, and about whose data they decide: the same person, or a child whom they represent.
    Column("opener", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("callback", Text, nullable=False),
    Column("purposes", JSON, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("spent_ms", BigInteger),
)
Index(None, consent_group.c.person)

# What providers reported as handed over on a consent.
transmission = Table(
    "citizen_transmission",
    metadata,
    Column("reference", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True),
    Column("reported_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(["reference"], ["citizen_consent.reference"], ondelete="CASCADE"),
)

# How members know the persons who used this application with them: a pseudonym can't be turned back otherwise.
acquaintance = Table(
    "citizen_acquaintance",
    metadata,
    Column("member", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("person", Text, nullable=False),
)

# -- links -------------------------------------------------------------------------------------------------------------

# Which account at which institution is a person's; the proof and the account itself are the institution's to keep.
link = Table(
    "citizen_link",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    # Of a link that its institution has not ended yet: how it knows the person, how often it was asked to end it in
    # vain, and when it is asked again. Empty and null otherwise.
    Column("subject", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_ms", BigInteger),
    CheckConstraint("state IN ('linked', 'ending', 'ended')", name="state"),
)
Index(None, link.c.due_ms)
Index(
    "uq_citizen_link_in_force",
    link.c.person,
    link.c.service,
    unique=True,
    sqlite_where=link.c.state.in_(("linked", "ending")),
    postgresql_where=link.c.state.in_(("linked", "ending")),
)

# -- notices -----------------------------------------------------------------------------------------------------------

notice = Table(
    "citizen_notice",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # One notice for one occasion: the same is told once, and counted.
    Column("occasion", Text, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("count", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("read_ms", BigInteger),
    UniqueConstraint("person", "kind", "occasion"),
)

# What is still to be told by e-mail or push.
notice_delivery = Table(
    "citizen_notice_delivery",
    metadata,
    Column("notice", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("person", Text, nullable=False),
    ForeignKeyConstraint(["notice"], ["citizen_notice.id"], ondelete="CASCADE"),
)
Index(None, notice_delivery.c.person)

# One row per person and channel that was set up. `address` is sealed under the notice key.
notice_channel = Table(
    "citizen_notice_channel",
    metadata,
    Column("person", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("address", LargeBinary),
    Column("confirmed", Boolean, nullable=False),
    Column("code_hash", LargeBinary),
    Column("code_expires_ms", BigInteger),
    Column("language", Text, nullable=False),
    Column("detailed", Boolean, nullable=False),
    Column("kinds", JSON, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
)

push_subscription = Table(
    "citizen_push_subscription",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    # Endpoint and keys, sealed under the notice key: whoever has an endpoint can tell the browsers apart.
    Column("sealed", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
Index(None, push_subscription.c.person)
