"""Every case of the conformance table, on real sockets."""

from __future__ import annotations

import re
import uuid

import pytest

from gateway.messages.faults import Hop, Vocabulary, spell
from tests.conformance.stage import Case, Stage, Told
from tests.conformance.table import CASES
from tests.conformance.words import Form
from tests.gateway.exchange.test_soap_refusals import SHAPE

pytestmark = pytest.mark.asyncio(loop_scope="module")
_IN_BOTH = {
    "client.invalid_soap",
    "server.clientproxy.unknown_member",
    "server.clientproxy.global_conf_outdated",
    "server.clientproxy.service_failed.io_error",
    "server.serverproxy.access_denied",
    "server.serverproxy.service_failed.io_error",
    "server.serverproxy.cannot_create_signature",
}


def names(cases: list[Case]) -> list[str]:
    return [re.sub(r"[^A-Za-z0-9]+", "-", f"{case.form.value} {case.situation}") for case in cases]


def check(case: Case, told: Told, code: str) -> None:
    """What was told is what the table says."""
    assert (told.form, told.status, told.code) == (case.form, case.http_status, code), told
    if not case.reworded:
        assert told.message.startswith(f"{case.hop.value.capitalize()}: ") or told.message == "nein", told
        assert uuid.UUID(told.detail)
    if case.form is Form.SOAP and told.answer is not None and not case.reworded:
        assert told.answer.headers["Content-Type"] == "text/xml;charset=utf-8"
        assert "X-Road-Error" not in told.answer.headers


@pytest.mark.parametrize("case", CASES, ids=names(list(CASES)))
async def test_each_case_is_told_as_the_table_says(stage: Stage, case: Case) -> None:
    since = stage.pair.position
    told = await case.do(stage)
    check(case, told, case.code)
    if case.form is Form.SOAP and not case.reworded:
        assert told.answer is not None
        assert SHAPE.fullmatch(told.answer.body), told.answer.body
    if case.form in (Form.REST, Form.SOAP) and not case.reworded:
        # The id that the client got stands in a log line.
        lines = stage.pair.lines(since)
        assert told.detail in {line.get(key) for line in lines for key in ("detail", "exchange")}
    stage.pair.require_discreet(since)


_CAMEL = [case for case in CASES if case.code in _IN_BOTH and case.form is not Form.GATEWAY]


@pytest.mark.parametrize("case", _CAMEL, ids=names(_CAMEL))
async def test_in_the_older_spelling(stage: Stage, case: Case) -> None:
    """The client's gateway decides how its clients read the codes, wherever they were raised."""
    node = stage.pair.consumer.gateway.node
    async with stage.replaced(node, vocabulary=Vocabulary.CAMEL):
        told = await case.do(stage)
    assert told.code == spell(case.code, Vocabulary.CAMEL) != case.code
    assert told.status == case.http_status
    assert told.message.startswith(tuple(f"{hop.value.capitalize()}: " for hop in Hop))


async def test_afterwards_the_road_is_as_it_was(stage: Stage) -> None:
    assert (await stage.pair.call("echo")).status == 200
