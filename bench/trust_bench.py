"""What trust costs: each operation in turns with the bare cryptographic operations that it contains, as a ratio.

In this process alone, with warm caches, as a gateway has them after its first message. A row is one function in
`ROWS`: it prepares, and returns the operation and the bare operations; both are measured in the same run, in turns, so
that a machine that slows down favours nobody. Figures are the fastest of the rounds: whatever disturbs only adds.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from rich.table import Table

from bench.container_bench import verify_row, write_row
from trust.canonical import DigestAlgorithm
from trust.certificates import CertificateVerifier
from trust.hashchain import PartDigest, build_batch, verify_hash_chain
from trust.identifiers import MemberId
from trust.keys import SoftwareKey
from trust.ocsp import build_request
from trust.parameters import SharedParameters
from trust.testca.authority import CertificateAuthority, KeyPair
from trust.testca.ocsp_responder import OCSPResponder
from trust.xades import SignatureBuilder, SignedPart, verify_signature

_ROUNDS: Final = 9
_ROUND_SECONDS: Final = 0.06
_INSTANCE: Final = "DE-TEST"
_MEMBER: Final = MemberId(_INSTANCE, "GOV", "MUSTERSTADT")
_MESSAGE: Final = b"POST\r\n/r1/DE-TEST/COM/STADTWERKE/abrechnung/bills\r\n" + b"x-header:value\r\n" * 16
_BODY: Final = b'{"number": "2026-11"}' * 12

Operation = Callable[[], object]


@dataclass(frozen=True, slots=True)
class TrustFixture:
    """What rows work with: a member's key, its status, whoever verifies it, and a message's parts."""

    key: SoftwareKey
    ocsp_response: bytes
    certificates: CertificateVerifier
    parts: tuple[SignedPart, ...]
    now: datetime
    parameters: SharedParameters
    time_stamping: KeyPair


@dataclass(frozen=True, slots=True)
class Row:
    """An operation to measure. `bare` are the cryptographic operations in it; `aim` is the ratio to stay below."""

    name: str
    bare_name: str
    aim: float | None
    prepare: Callable[[TrustFixture], tuple[Operation, Operation]]


@dataclass(frozen=True, slots=True)
class TrustFigure:
    """Microseconds of an operation and of what it contains, and the one by the other."""

    name: str
    bare_name: str
    micros: float
    bare_micros: float
    ratio: float
    aim: float | None


def _bare_sign(fixture: TrustFixture) -> Operation:
    key = fixture.key.private_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    scheme = ec.ECDSA(hashes.SHA512())
    data = bytes(1024)
    return lambda: key.sign(data, scheme)


def _bare_verify(fixture: TrustFixture) -> Operation:
    key = fixture.key.private_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    scheme, data = ec.ECDSA(hashes.SHA512()), bytes(1024)
    value, public = key.sign(data, scheme), key.public_key()
    return lambda: public.verify(value, data, scheme)


def _sign(fixture: TrustFixture) -> tuple[Operation, Operation]:
    builder = SignatureBuilder(fixture.key)
    return (
        lambda: builder.build(fixture.parts, signing_time=fixture.now, ocsp_response=fixture.ocsp_response),
        _bare_sign(fixture),
    )


def _verify(fixture: TrustFixture) -> tuple[Operation, Operation]:
    document = SignatureBuilder(fixture.key).build(
        fixture.parts, signing_time=fixture.now, ocsp_response=fixture.ocsp_response
    )
    return (
        lambda: verify_signature(
            document, fixture.parts, signer=_MEMBER, certificates=fixture.certificates, at=fixture.now
        ),
        _bare_verify(fixture),
    )


def _sign_chain(fixture: TrustFixture) -> tuple[Operation, Operation]:
    builder = SignatureBuilder(fixture.key)
    return (
        lambda: builder.build_batch((fixture.parts,), signing_time=fixture.now, ocsp_response=fixture.ocsp_response),
        _bare_sign(fixture),
    )


def _verify_with_chain(fixture: TrustFixture) -> tuple[Operation, Operation]:
    (signed,) = SignatureBuilder(fixture.key).build_batch(
        (fixture.parts,), signing_time=fixture.now, ocsp_response=fixture.ocsp_response
    )
    return (
        lambda: verify_signature(
            signed.document,
            fixture.parts,
            signer=_MEMBER,
            certificates=fixture.certificates,
            at=fixture.now,
            hash_chain_result=signed.hash_chain_result,
            hash_chain=signed.hash_chain,
        ),
        _bare_verify(fixture),
    )


def _verify_chain(_fixture: TrustFixture) -> tuple[Operation, Operation]:
    digests = [hashlib.sha512(b"%d" % number).digest() for number in range(1000)]
    result, chains = build_batch(digests)
    inputs = {"/message.xml": PartDigest(DigestAlgorithm.SHA512, digests[500])}
    # Ten levels, so ten steps of two digests and their names.
    step = bytes(224)

    def bare() -> None:
        for _ in range(10):
            hashlib.sha512(step).digest()

    return lambda: verify_hash_chain(result, chains[500], inputs), bare


# Whoever measures more of trust adds a row here.
ROWS: Final[list[Row]] = [
    Row("sign, a reference for each part", "ECDSA P-256 sign", 2.0, _sign),
    Row("verify, a reference for each part", "ECDSA P-256 verify", 2.5, _verify),
    Row("sign over a hash chain", "ECDSA P-256 sign", None, _sign_chain),
    Row("verify over a hash chain", "ECDSA P-256 verify", None, _verify_with_chain),
    Row("verify one chain of a batch of 1000", "ten SHA-512", None, _verify_chain),
    Row("sign and write a container", "ECDSA P-256 sign, 5 SHA-512", None, write_row),
    Row("verify a container", "2 ECDSA P-256 verify, 8 SHA-512", None, verify_row),
]


def prepare_fixture(folder: Path) -> TrustFixture:
    """A test authority in `folder` with one member's key, and everything remembered that can be."""
    authority = CertificateAuthority.load_or_create(folder / "testca", _INSTANCE)
    private_key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue_signing(
        private_key.public_key(), _MEMBER, member_name="Musterstadt", server_code="ss1"
    )
    key = SoftwareKey(private_key, certificate)
    response = OCSPResponder(authority).answer(build_request(certificate, authority.root.certificate))
    parameters = SharedParameters(
        instance=_INSTANCE,
        approved_cas=(authority.approved_ca("http://127.0.0.1/"),),
        approved_tsas=(authority.approved_tsa("http://127.0.0.1/"),),
    )
    named = (("/message.xml", _MESSAGE), ("/attachment1", _BODY))
    parts = tuple(SignedPart(name, hashlib.sha512(data).digest()) for name, data in named)
    verifier = CertificateVerifier(parameters)
    return TrustFixture(key, response, verifier, parts, datetime.now(UTC), parameters, authority.time_stamping)


def measure_trust(folder: Path, rows: Sequence[Row] = ROWS, *, rounds: int = _ROUNDS) -> list[TrustFigure]:
    """The figures of `rows`; `folder` takes the keys that are needed. Blocks for about a second a row."""
    fixture = prepare_fixture(folder)
    return [_measure(row, fixture, rounds) for row in rows]


def _measure(row: Row, fixture: TrustFixture, rounds: int) -> TrustFigure:
    operation, bare = row.prepare(fixture)
    counts = _repetitions(operation), _repetitions(bare)
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for number, work in enumerate((operation, bare)):
            best[number] = min(best[number], _seconds(work, counts[number]) / counts[number])
    micros, bare_micros = (1e6 * seconds for seconds in best)
    return TrustFigure(row.name, row.bare_name, round(micros, 2), round(bare_micros, 2), micros / bare_micros, row.aim)


def _repetitions(work: Operation) -> int:
    work()  # whatever is remembered is remembered now
    return max(1, int(_ROUND_SECONDS / max(_seconds(work, 3) / 3, 1e-7)))


def _seconds(work: Operation, count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        work()
    return time.perf_counter() - begin


def as_values(figures: Sequence[TrustFigure]) -> list[dict[str, Any]]:
    """The figures as JSON values."""
    return [{**asdict(figure), "ratio": round(figure.ratio, 3)} for figure in figures]


def print_figures(figures: Sequence[TrustFigure], console: Console) -> None:
    """A table for people."""
    table = Table(title="Trust, by the bare cryptographic operations in it (warm caches)", title_justify="left")
    table.add_column("operation")
    table.add_column("µs", justify="right")
    table.add_column("contains")
    for column in ("µs", "ratio", "aim"):
        table.add_column(column, justify="right")
    for figure in figures:
        aim = "" if figure.aim is None else f"{figure.aim:g}"
        micros, bare_micros, ratio = f"{figure.micros:.1f}", f"{figure.bare_micros:.1f}", f"{figure.ratio:.2f}"
        table.add_row(figure.name, micros, figure.bare_name, bare_micros, ratio, aim)
    console.print(table)
