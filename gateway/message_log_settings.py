"""The settings of a gateway's message log: time-stamps, what is kept, archives.

A part of `GatewaySettings`, described with the rest in docs/operations.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.settings_base import PlacedSettings, Seconds, in_data_directory
from trust.identifiers import InvalidIdentifier, parse_subsystem_id


class MessageLogSettings(PlacedSettings):
    """How messages are logged."""

    message_stamping: Literal["batch", "immediate"] = "batch"
    message_stamping_interval_seconds: Seconds | None = None
    acceptable_timestamp_failure_seconds: Annotated[float, Field(ge=0)] = 14_400
    timestamp_cost_strategy: Literal["NONE", "ONLY_FREE", "ONLY_PAID", "FREE_FIRST", "PAID_FIRST"] = "NONE"
    message_encryption: bool = True
    message_body_logging: bool = True
    message_body_logging_enabled: tuple[str, ...] = ()
    message_body_logging_disabled: tuple[str, ...] = ()
    max_loggable_body_bytes: Annotated[int, Field(gt=0)] = 10 * 1024 * 1024
    truncated_body_allowed: bool = False
    body_digest_allowed: bool = False
    message_retention_days: Annotated[int, Field(gt=0)] = 30
    message_archiving: bool = True
    message_archive_directory: Path = in_data_directory("archive")
    message_archive_interval_seconds: Seconds = 21_600
    message_archive_max_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    message_archive_grouping: Literal["none", "member", "subsystem"] = "none"
    message_archive_transfer_command: tuple[str, ...] = ()
    message_archive_transfer_timeout_seconds: Seconds = 600

    @model_validator(mode="after")
    def _subsystems_are_named(self) -> Self:
        try:
            for subsystem in (*self.message_body_logging_enabled, *self.message_body_logging_disabled):
                parse_subsystem_id(subsystem)
        except InvalidIdentifier as error:
            raise ValueError(f"message_body_logging_… name INST/CLASS/MEMBER/SUBSYSTEM: {error}") from None
        return self
