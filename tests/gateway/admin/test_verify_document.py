"""`datenweg verify-document`: what it prints, writes and answers, with a responder on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from tests.trust.documents import Vouching, sign, vouching
from tests.trust.factory import make_authority

DOCUMENT = b'<Bescheid xmlns="urn:musterstadt"><Betrag>12,50</Betrag></Bescheid>'


@pytest.fixture
async def landlords(tmp_path: Path) -> AsyncIterator[Vouching]:
    async with vouching(tmp_path / "ca") as running:
        yield running


@pytest.fixture
def signed(landlords: Vouching, tmp_path: Path) -> Path:
    return signed_by(landlords, tmp_path)


def signed_by(landlords: Vouching, folder: Path) -> Path:
    """A file with a document that somebody signed for whom the authority vouches."""
    holder = landlords.signer()
    path = folder / "bescheid.xml"
    path.write_bytes(sign(DOCUMENT, holder.key, holder.certificate))
    return path


async def invoke(*words: str | Path) -> Result:
    """The command in a thread of its own: the responder answers in this one."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["verify-document", *map(str, words)])


def change(path: Path) -> None:
    """One that its signer didn't sign."""
    path.write_bytes(path.read_bytes().replace(b"12,50", b"99,50"))


def issued(landlords: Vouching) -> list[int]:
    """The serial numbers of all signers."""
    return [int(path.stem, 16) for path in (landlords.authority.directory / "issued").glob("*.der")]


def written(folder: Path) -> list[str]:
    """The files in it, which need not exist."""
    return [path.name for path in folder.glob("*")]


async def test_it_prints_what_is_proven_and_writes_what_was_signed(landlords: Vouching, signed: Path) -> None:
    folder = signed.parent / "out"
    result = await invoke(signed, "--trusted", landlords.certificate_file, "--extract", folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("bescheid.xml: verified\n")
    assert f"  authority     {landlords.authority.root.certificate.subject.rfc4514_string()}" in result.stdout
    assert "  OCSP answer   good, produced " in result.stdout
    assert (folder / "signed-1").read_bytes() == DOCUMENT
    again = await invoke(signed, "--trusted", landlords.certificate_file, "--extract", folder)
    assert "isn't overwritten" in str(again.exception)


@pytest.fixture
def trusted(landlords: Vouching, tmp_path: Path) -> Path:
    """A folder of authorities, and something else in it."""
    folder = tmp_path / "trusted"
    folder.mkdir()
    (folder / "a.der").write_bytes(make_authority("Andere CA").der)
    (folder / "b.pem").write_bytes(landlords.certificate_file.read_bytes())
    (folder / "README").write_text("not a certificate")
    return folder


async def test_json_and_a_folder_of_authorities(trusted: Path, signed: Path) -> None:
    result = await invoke(signed, "--trusted", trusted, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["verified"], found["signed_parts"]) == (True, 1)
    assert found["ocsp"]["produced_at"].endswith("Z")


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_changed_document_is_exit_code_1_with_its_code(
    landlords: Vouching, signed: Path, as_json: bool
) -> None:
    change(signed)
    folder = signed.parent / "out"
    flags = ["--json"] if as_json else []
    result = await invoke(signed, "--trusted", landlords.certificate_file, "--extract", folder, *flags)
    assert (result.exit_code, written(folder)) == (1, [])
    if as_json:
        refusal = json.loads(result.stdout)
        assert (refusal["verified"], refusal["code"]) == (False, "invalid_signature_value")
        assert refusal["hint"]
    else:
        assert result.stdout.startswith("bescheid.xml: NOT VERIFIED: invalid_signature_value\n")
        assert "  what to do    " in result.stdout


async def test_a_signer_of_nobody_here_and_a_revoked_one(landlords: Vouching, signed: Path) -> None:
    stranger = signed.parent / "stranger.pem"
    stranger.write_bytes(make_authority("Fremde CA").der)
    result = await invoke(signed, "--trusted", stranger)
    assert (result.exit_code, "NOT VERIFIED: cert_validation" in result.stdout) == (1, True)
    for serial_number in issued(landlords):
        landlords.authority.revoke(serial_number)
    revoked = await invoke(signed, "--trusted", landlords.certificate_file)
    assert (revoked.exit_code, "revoked" in revoked.stdout) == (1, True)


async def test_without_a_responder_only_the_flag_with_the_telling_name_gets_an_answer(tmp_path: Path) -> None:
    async with vouching(tmp_path / "ca") as gone:
        path = signed_by(gone, tmp_path)
    refused = await invoke(path, "--trusted", gone.certificate_file)
    assert (refused.exit_code, "NOT VERIFIED: network_error" in refused.stdout) == (1, True)
    told = await invoke(path, "--trusted", gone.certificate_file, "--insecure-no-status")
    assert told.exit_code == 0
    assert "NOT ASKED" in told.stdout
    assert json.loads(
        (await invoke(path, "--trusted", gone.certificate_file, "--insecure-no-status", "--json")).stdout
    )["ocsp"] is None  # fmt: skip


async def test_what_cannot_be_read_is_wrong_use(signed: Path) -> None:
    for words in ((signed, "--trusted", signed), (signed, "--trusted", signed.parent / "nothing"), (signed.parent,)):
        assert (await invoke(*words)).exit_code != 0
