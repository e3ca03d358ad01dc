"""`datenweg log erase` and `release`: what goes for good, and what the law has kept from a person until now.

Who the person is comes from a prompt or a file, never from the command line, where every user of the machine reads it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from audit.entry import Receipt
from audit.erasing import erase_person, erase_records
from audit.erasure import Erasure, IndexRange
from audit.releasing import release_person
from gateway.admin.errors import AdminError
from gateway.admin.own_log import open_own_log
from gateway.settings import GatewaySettings

_MAX_REFERENCE = 256


def read_person(file: Path | None) -> str:
    """The reference of a person, as the exchanges had it. Raises AdminError."""
    if file is None and sys.stdin.isatty():
        text = typer.prompt("Reference of the person (not shown)", hide_input=True)
    elif file is None:
        text = sys.stdin.readline()
    else:
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise AdminError(f"{file}: can't be read") from None
    reference = str(text).strip()
    if not 0 < len(reference) <= _MAX_REFERENCE or not reference.isprintable():
        raise AdminError("the person's reference is one line, as X-Datenweg-Subject had it")
    return reference


def parse_range(text: str) -> IndexRange:
    """`17` or `17-20`. Raises AdminError."""
    first, dash, last = text.partition("-")
    numbers = (first, last if dash else first)
    if not all(number.isascii() and number.isdigit() and len(number) <= 15 for number in numbers):
        raise AdminError("--index is one number, or two with a hyphen: 17-20")
    return int(numbers[0]), int(numbers[1])


async def erase_range(settings: GatewaySettings, log: str | None, indices: IndexRange, basis: str) -> str:
    """Erases the records of a log's entries; what was done. Raises AdminError, AuditError."""
    async with open_own_log(settings) as own:
        origin = own.origin if log is None else _origin(own.origin, log)
        try:
            return _told(*await erase_records(own.engine, own.sequencer, origin, indices, basis=basis))
        except ValueError as error:
            raise AdminError(f"--basis: {error}") from None


async def erase_subject(settings: GatewaySettings, reference: str, basis: str) -> str:
    """Erases a person; what was done. Raises AdminError, AuditError."""
    async with open_own_log(settings) as own:
        try:
            done = await erase_person(
                own.engine, own.sequencer, own.keys, reference, basis=basis, at_ms=own.clock.now_ms()
            )
        except ValueError as error:
            raise AdminError(f"--basis: {error}") from None
        return _told(*done)


async def release_subject(settings: GatewaySettings, reference: str) -> int:
    """Releases what was withheld from a person; how many accesses. Raises AdminError, AuditError."""
    async with open_own_log(settings) as own:
        return len(await release_person(own.engine, own.sequencer, own.keys, reference))


def _origin(current: str, log: str) -> str:
    """A log by its whole name or by its year alone."""
    return log if "/" in log else f"{current.rpartition('/')[0]}/{log}"


def _told(erasure: Erasure, receipt: Receipt) -> str:
    lines = [
        f"{origin}: {sum(last - first + 1 for first, last in ranges)} records erased, entries "
        + ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
        for origin, ranges in erasure.ranges
    ]
    lines += ["the person's keys destroyed"] if erasure.person else []
    return "\n".join([*lines, f"said in {receipt.origin}, entry {receipt.index}"])
