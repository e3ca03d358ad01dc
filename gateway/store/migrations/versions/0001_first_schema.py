"""The first schema: a node's configuration and the audit log.

Until 0.1.0 is released it follows the tables of the code. From then on it stays as it is and each change gets a
migration of its own; a test compares the outcome with the tables.
"""

from __future__ import annotations

from alembic import op

import audit.store
import gateway.citizen.tables
import gateway.monitoring.tables  # noqa: F401 - likewise
from gateway.store.tables import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection)
    audit.store.metadata.create_all(connection)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back: restore a backup instead")
