"""What is kept of a configuration on disk: whole generations, checked anew whenever they are read."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.trust.configurations import INSTANCE, NOW, Signed, anchor, parameters, signed
from trust.configuration_store import ConfigurationStore, escape_instance
from trust.errors import ConfigurationInvalid
from trust.globalconf import (
    Anchor,
    OptionalParts,
    VerifiedConfiguration,
    build_optional_parts,
    parse_shared_parameters,
    verify_configuration,
)

OTHER = replace(parameters(), ocsp_freshness_seconds=60)


def full_disk(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stored(
    directory: Path, configuration: Signed, previous: VerifiedConfiguration | None = None
) -> VerifiedConfiguration:
    accepted = verify_configuration(
        configuration.directory, configuration.files, anchor=anchor(), at=NOW, previous=previous
    )
    ConfigurationStore(directory, anchor()).save(accepted, configuration.files, previous)
    return accepted


def test_the_store_keeps_the_last_two_generations(tmp_path: Path) -> None:
    previous = None
    for number in range(1, 5):
        previous = stored(tmp_path, signed(number=number), previous)
    kept = [entry for entry in tmp_path.iterdir() if entry.name.startswith(f".{INSTANCE}.")]
    assert len(kept) == 2
    loaded = ConfigurationStore(tmp_path, anchor()).load()
    assert loaded is not None
    assert previous is not None
    assert loaded.configuration.sequence == previous.sequence


def test_an_interrupted_save_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stored(tmp_path, signed(number=1))

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            stored(tmp_path, signed(number=2), first)
    loaded = ConfigurationStore(tmp_path, anchor()).load()
    assert loaded is not None
    assert loaded.configuration.sequence == first.sequence
    stored(tmp_path, signed(number=3), first)


def test_an_altered_store_is_refused(tmp_path: Path) -> None:
    stored(tmp_path, signed())
    current = tmp_path / INSTANCE
    for name in ("directory", "shared-params.xml", "private-params.xml", "state.json"):
        original = (current / name).read_bytes()
        for altered in (original[:-20], b"", None):
            if altered is None:
                (current / name).unlink()
            else:
                (current / name).write_bytes(altered)
            if name == "state.json" and altered is None:
                assert ConfigurationStore(tmp_path, anchor()).load() is None
            else:
                with pytest.raises(ConfigurationInvalid):
                    ConfigurationStore(tmp_path, anchor()).load()
        (current / name).write_bytes(original)
    known = json.loads(original)
    outside = {**known, "files": dict.fromkeys(known["files"], "../../../etc/passwd")}
    for state in ("[]", "{}", json.dumps({**known, "announced": ["*"]}), json.dumps(outside)):
        (current / "state.json").write_text(state)
        with pytest.raises(ConfigurationInvalid):
            ConfigurationStore(tmp_path, anchor()).load()


def test_instances_cannot_leave_the_folder(tmp_path: Path) -> None:
    for instance in ("../x", "a/b", "..", ".", ".x", "Länder TEST~"):
        store = ConfigurationStore(tmp_path / "in", Anchor(instance, anchor().sources))
        assert store.load() is None
        assert store.path.parent == tmp_path / "in"
        assert not store.path.name.startswith(".")
    assert escape_instance("Länder TEST~*") == "L%C3%A4nder+TEST%7E*"


def test_the_folder_is_in_x_roads_layout(tmp_path: Path) -> None:
    stored(
        tmp_path,
        signed(more=[("NEXTUPDATE", build_optional_parts(OptionalParts(verify_next_update=True))["NEXTUPDATE"])]),
    )
    assert (tmp_path / "instance-identifier").read_text() == INSTANCE
    folder = tmp_path / INSTANCE
    assert parse_shared_parameters((folder / "shared-params.xml").read_bytes()) == parameters()
    metadata = json.loads((folder / "shared-params.xml.metadata").read_bytes())
    assert metadata == {
        "contentIdentifier": "SHARED-PARAMETERS",
        "instanceIdentifier": INSTANCE,
        "expirationDate": "2026-11-22T10:10:00Z",
        "contentLocation": "/V6/20261122100000000000001/shared-params.xml",
        "configurationVersion": "6",
    }
    names = {entry.name for entry in folder.iterdir() if not entry.name.endswith((".metadata", ".json"))}
    assert names == {"shared-params.xml", "private-params.xml", "nextupdate-params.xml", "directory"}


def test_a_folder_in_the_place_of_the_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / INSTANCE).mkdir()
    (tmp_path / INSTANCE / "state.json").write_text("{}")
    stored(tmp_path, signed())
    assert ConfigurationStore(tmp_path, anchor()).load() is not None
