"""Reads a topology file, TOML or JSON, bounded; what is wrong in it is told with the path to the key.

Files that it names (descriptions, certificates) are read here too, relative to its own folder, so that nothing starts
when one of them is missing.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

from gateway.errors import StartRefused
from gateway.instance.topology import Client, Service, Topology

_MAX_BYTES: Final = 4 << 20
_PEM: Final = "-----BEGIN CERTIFICATE-----"


class InvalidTopology(StartRefused):
    """The file can't be used; the text names each key and what is allowed there."""


class RepeatedKey(ValueError):
    """A JSON object has a key twice."""


@dataclass(frozen=True, slots=True)
class TopologyFile:
    """A topology and where it was read: paths in it are relative to that folder."""

    topology: Topology
    path: Path

    @property
    def folder(self) -> Path:
        return self.path.resolve().parent

    def description(self, service: Service) -> tuple[bytes, Path] | None:
        """A service's description and its path. Raises InvalidTopology."""
        if service.description is None:
            return None
        path = (self.folder / service.description).resolve()
        return _read(path), path

    def certificates(self, client: Client) -> frozenset[bytes]:
        """The certificates (DER) of a client's systems. Raises InvalidTopology."""
        found: set[bytes] = set()
        for entry in client.certificates:
            inline = _PEM in entry
            data = entry.encode() if inline else _read((self.folder / entry).resolve())
            try:
                pinned = x509.load_pem_x509_certificates(data)
            except (ValueError, x509.InvalidVersion):
                name = "an inline text" if inline else entry
                raise InvalidTopology(f"{name} holds no certificate in PEM") from None
            found |= {certificate.public_bytes(Encoding.DER) for certificate in pinned}
        return frozenset(found)


def read_topology(path: Path) -> TopologyFile:
    """The topology in a file; `.json` is JSON, anything else TOML. Raises InvalidTopology."""
    data = _read(path)
    try:
        # Editors of some systems begin a file with a byte order mark.
        text = data.decode("utf-8-sig")
        values: Any = (
            json.loads(text, object_pairs_hook=_without_repetition) if path.suffix == ".json" else tomllib.loads(text)
        )
    except (UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError, RepeatedKey, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise InvalidTopology(f"{path}: not a {kind} file: {error}") from None
    try:
        topology = Topology.model_validate(values)
    except ValidationError as error:
        raise InvalidTopology(f"{path}: " + "; ".join(_problems(error))) from None
    read = TopologyFile(topology, path)
    for place, look in _named_files(read):
        try:
            look()
        except InvalidTopology as error:
            raise InvalidTopology(f"{path}: {place}: {error}") from None
    return read


def _named_files(file: TopologyFile) -> Iterator[tuple[str, Callable[[], object]]]:
    """Everything that is read from other files, with the path to the key that names it."""
    for index, member in enumerate(file.topology.members):
        at = f"members[{index}]"
        yield f"{at}.certificates", partial(file.certificates, member)
        for place, subsystem in enumerate(member.subsystems):
            inner = f"{at}.subsystems[{place}]"
            yield f"{inner}.certificates", partial(file.certificates, subsystem)
            for number, service in enumerate(subsystem.services):
                yield f"{inner}.services[{number}].description", partial(file.description, service)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidTopology(f"{path} is larger than {_MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise InvalidTopology(f"{path}: {error.strerror}") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. As in TOML, a key that stands there twice is a mistake: which one counts nobody could tell."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RepeatedKey(f"the key {key!r} stands there twice")
        found[key] = value
    return found


def _problems(error: ValidationError) -> Iterator[str]:
    """A line for each of pydantic's errors.

    What it says of a list whose items are wrong (that it lacks them) follows from what is wrong with these.
    """
    found = error.errors(include_input=False)
    for each in found:
        place = each["loc"]
        if not any(len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in found):
            yield _problem(each)


def _problem(error: Any) -> str:
    """One line for one of pydantic's errors: `members[0].subsystems[1].connection_type: what is allowed`."""
    place = ""
    for part in error["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    said = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        said = "there is no such key (docs/instance.md lists them)"
    elif error["type"] == "missing":
        said = "is missing"
    return f"{place}: {said}" if place else said


def schema() -> str:
    """The file's JSON Schema (draft 2020-12)."""
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(described | Topology.model_json_schema() | {"title": "Datenweg instance"}, indent=2) + "\n"
