"""The table of operational records. Part of the node's schema: migration 0001 makes it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text

from gateway.store.tables import metadata

# What is searched and counted by has columns; all of a record is its JSON, as it goes out.
operational_record = Table(
    "operational_record",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("stored_s", BigInteger, nullable=False),
    Column("client", Text),
    Column("provider", Text),
    Column("service", Text),
    Column("service_type", Text),
    Column("producer", Boolean, nullable=False),
    Column("succeeded", Boolean, nullable=False),
    Column("response_out_ms", BigInteger, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Column("request_size", BigInteger),
    Column("response_size", BigInteger),
    Column("record", Text, nullable=False),
)
Index(None, operational_record.c.stored_s)
