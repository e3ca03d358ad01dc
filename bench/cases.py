"""What is measured beside the small REST exchange: SOAP, bodies of 1 MiB, a crowd of clients, bodies that stream.

Each case goes the way of the main measure, on the same road and through the same proxies; the consent's and the
citizen's headers go along over REST, SOAP is called as by a client that knows nothing of us.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import aiohttp

from bench.backend import ANSWER_BODY, LARGE_BODY, REQUEST_BODY, SOAP_TYPE, soap_message
from bench.plain import HOST
from bench.processes import NotMeasurable, Worker
from bench.road import SOAP_SERVICE
from gateway.city.plan import CITY
from trust.identifiers import SubsystemId

SOAP: Final = "soap"
MIB: Final = "mib"
CROWD: Final = "crowd"
STREAM: Final = "stream"
CASES: Final = (SOAP, MIB, CROWD, STREAM)
_CROWD: Final = 1000
_FEW: Final = 8
_CROWD_RAMP: Final = 4.0


@dataclass(frozen=True, slots=True)
class Case:
    """What each connection sends. `connections`: how many, 0 for as many as in the main measure.

    `ramp_seconds` pass before anything is counted, in which connections are made.
    """

    heads: tuple[str, ...]
    body: bytes
    answer: bytes | None
    connections: int = 0
    ramp_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One exchange with large bodies both ways. Memory in bytes: before, and at most, of both gateways or proxies."""

    size: int
    seconds: float
    cpu_seconds: float
    before: Mapping[str, int]
    peaks: Mapping[str, int]


def build_case(name: str, heads: Sequence[str], *, road: bool) -> Case:
    """A case for the road or the proxies, from the heads of the main measure."""
    match name:
        case "soap":
            target = "/" if road else "/soap"
            head = f'POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {SOAP_TYPE}\r\nSOAPAction: ""\r\n'
            service = (
                f"{_identifier(SOAP_SERVICE.provider)}<id:serviceCode>{SOAP_SERVICE.service_code}</id:serviceCode>"
            )
            service += f"<id:serviceVersion>{SOAP_SERVICE.service_version}</id:serviceVersion>"
            message = soap_message(_identifier(CITY.subsystem), service, response=False)
            # The road adds the request hash to the answer: it is the same each time, and learnt from the first.
            return Case((head,), message, None)
        case "mib":
            return Case(tuple(_to(head, "mib") for head in heads), LARGE_BODY, LARGE_BODY, _FEW)
        case "crowd":
            return Case(tuple(heads), REQUEST_BODY, ANSWER_BODY, _CROWD, _CROWD_RAMP)
        case _:
            raise ValueError(name)


def _identifier(subsystem: SubsystemId | object) -> str:
    assert isinstance(subsystem, SubsystemId)
    names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")
    return "".join(f"<id:{name}>{value}</id:{name}>" for name, value in zip(names, subsystem.segments, strict=True))


def _to(head: str, last: str) -> str:
    """The head with another end of its path."""
    line, rest = head.split("\r\n", 1)
    method, target, version = line.split(" ")
    return f"{method} {target.rpartition('/')[0]}/{last} {version}\r\n{rest}"


def _parsed(head: str) -> tuple[str, dict[str, str]]:
    line, *lines = head.split("\r\n")
    return line.split(" ")[1], dict(field.split(": ", 1) for field in lines if field)


async def try_case(http: aiohttp.ClientSession, url: str, case: Case) -> bytes:
    """One exchange; the answer that every other must have. Raises NotMeasurable."""
    target, fields = _parsed(case.heads[0])
    async with http.post(url + target, data=_pieces(case.body), headers=fields) as answer:
        content = await answer.read()
    if answer.status != 200 or b"faultcode" in content or case.answer not in (None, content):
        raise NotMeasurable(f"a case is answered {answer.status} {content[:500].decode('utf-8', 'replace')}")
    return content


async def _pieces(body: bytes, times: int = 1) -> AsyncIterator[bytes]:
    for _ in range(times):
        for begin in range(0, len(body), 1 << 18):
            yield body[begin : begin + (1 << 18)]


async def stream(
    http: aiohttp.ClientSession, port: int, head: str, gateways: Sequence[Worker], size: int
) -> StreamFigures:
    """One exchange with `size` bytes (whole MiB) there and back. Raises NotMeasurable."""
    target, fields = _parsed(_to(head, f"stream/{size}"))
    for worker in gateways:
        worker.forget_peak_memory()
    before = {worker.name: worker.peak_memory() for worker in gateways}
    cpu_before = sum(worker.cpu_time().total for worker in gateways)
    began, received = perf_counter(), 0
    body = _pieces(LARGE_BODY, size // len(LARGE_BODY))
    timeout = aiohttp.ClientTimeout(total=600)
    async with http.post(f"http://{HOST}:{port}{target}", data=body, headers=fields, timeout=timeout) as answer:
        async for chunk in answer.content.iter_any():
            received += len(chunk)
    if answer.status != 200 or received != size:
        raise NotMeasurable(f"a large body is answered {answer.status} with {received} bytes")
    return StreamFigures(
        size,
        perf_counter() - began,
        sum(worker.cpu_time().total for worker in gateways) - cpu_before,
        before,
        {worker.name: worker.peak_memory() for worker in gateways},
    )
