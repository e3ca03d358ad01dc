"""What the machine and the gateway are doing right now, from the standard library and /proc. Nothing is stored."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

import gateway
from gateway.exchange.node import Node

_PROC: Final = Path("/proc")
_MAX_PROCESSES: Final = 1000
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process of the machine."""

    process_id: int
    name: str
    user: str
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """One of the gateway's certificates, for authentication or signing. `hash` as `certificate_hash` has it."""

    hash: str
    not_before: datetime
    not_after: datetime
    active: bool


@dataclass(frozen=True, slots=True)
class Environment:
    """A moment of the machine. Bytes, and a load per core in percent."""

    version: str
    operating_system: str
    load_percent: float
    free_memory: int
    total_memory: int
    free_swap: int
    total_swap: int
    open_files: int
    max_files: int
    disk_free: int
    disk_total: int
    disk: str
    processes: tuple[RunningProcess, ...]
    certificates: tuple[OwnCertificate, ...]


def environment_of(node: Node) -> Environment:
    """The environment of a gateway. Reads files: call it in a thread."""
    memory = _memory()
    disk = shutil.disk_usage(node.settings.data_directory)
    opened, limit = _files()
    return Environment(
        version=gateway.__version__,
        operating_system=f"{platform.system()} {platform.release()}",
        load_percent=os.getloadavg()[0] * 100 / (os.cpu_count() or 1),
        free_memory=memory.get("MemAvailable", 0),
        total_memory=memory.get("MemTotal", 0),
        free_swap=memory.get("SwapFree", 0),
        total_swap=memory.get("SwapTotal", 0),
        open_files=opened,
        max_files=limit,
        disk_free=disk.free,
        disk_total=disk.total,
        disk=str(node.settings.data_directory),
        processes=tuple(_processes()),
        certificates=tuple(_certificates(node)),
    )


def _memory() -> dict[str, int]:
    """/proc/meminfo in bytes (proc(5))."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in (_PROC / "meminfo").read_text("ascii").splitlines():
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) * _KIB
    return found


def _files() -> tuple[int, int]:
    """Open files of the whole machine and their greatest number (proc(5), sys/fs/file-nr)."""
    with suppress(OSError, ValueError):
        opened, _, limit = (_PROC / "sys/fs/file-nr").read_text("ascii").split()
        return int(opened), int(limit)
    return 0, 0


def _processes() -> Iterator[RunningProcess]:
    """Names and sizes; never command lines, which may hold secrets."""
    page = os.sysconf("SC_PAGE_SIZE")
    folders = [entry for entry in _PROC.iterdir() if entry.name.isdigit()] if _PROC.is_dir() else []
    for folder in sorted(folders, key=lambda entry: int(entry.name))[:_MAX_PROCESSES]:
        # Some end while they are looked at.
        with suppress(OSError, ValueError, IndexError):
            name = (folder / "comm").read_text("utf-8", "replace").strip()
            resident = int((folder / "statm").read_text("ascii").split()[1]) * page
            yield RunningProcess(int(folder.name), name, _user(folder.stat().st_uid), resident)


def _user(number: int) -> str:
    """The user's name, as X-Road has it; the number of one without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def certificate_hash(certificate: x509.Certificate) -> str:
    """SHA-256 in upper-case hexadecimal with colons, as X-Road 7.8 has it; the schema goes on calling it sha1Hash."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _certificates(node: Node) -> Iterator[OwnCertificate]:
    for own in node.own_certificates.keys.all:
        certificate = x509.load_der_x509_certificate(own.certificate)
        yield OwnCertificate(
            hash=certificate_hash(certificate),
            not_before=certificate.not_valid_before_utc.astimezone(UTC),
            not_after=certificate.not_valid_after_utc.astimezone(UTC),
            active=True,
        )
