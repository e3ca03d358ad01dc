"""All targets, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.fuzz import (
    audit_targets,
    citizen_targets,
    configuration_targets,
    description_targets,
    message_targets,
    status_targets,
    trust_targets,
)
from tests.fuzz.registry import Target, by_name

TARGETS: Final[Mapping[str, Target]] = by_name(
    (
        *trust_targets.TARGETS,
        *status_targets.TARGETS,
        *configuration_targets.TARGETS,
        *message_targets.TARGETS,
        *description_targets.TARGETS,
        *audit_targets.TARGETS,
        *citizen_targets.TARGETS,
    )
)
