"""Log lines: JSON with keys from a list, no exception's text, and never a reason to stop."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.logging import bind_exchange, configure_logging, describe_error, get_logger


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging("info", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_exchange(output: io.StringIO) -> None:
    with bind_exchange("f1d2"):
        get_logger(node="app1").info("answered", service="A/B/C/D/e", duration_ms=4.2)
    get_logger().info("idle")
    first, second = lines(output)
    assert first["event"] == "answered"
    assert first["exchange"] == "f1d2"
    assert first["node"] == "app1"
    assert first["duration_ms"] == 4.2
    assert first["timestamp"].endswith("Z")
    assert "exchange" not in second


def test_an_output_that_is_gone_stops_nobody(output: io.StringIO) -> None:
    """An operator's terminal or pipe that was closed must not fail the exchange whose line would have gone there."""
    output.close()
    get_logger().error("nobody reads this")
    logging.getLogger("a.library").error("nor this")


def test_a_command_s_output_is_where_standard_error_is_now(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: io.StringIO
) -> None:
    closed, later = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", closed)
    configure_logging("info")
    logger = get_logger()
    closed.close()
    monkeypatch.setattr("sys.stderr", later)
    logger.info("after")
    assert [line["event"] for line in lines(later)] == ["after"]
    assert not output.getvalue()
    assert not capsys.readouterr().err


def test_what_is_not_on_the_list_is_dropped_and_named(output: io.StringIO) -> None:
    get_logger().warning("refused", subject="erika", body={"iban": "DE00"}, code="server.serverproxy.access_denied")
    (line,) = lines(output)
    assert line["dropped"] == ["body", "subject"]
    assert "erika" not in output.getvalue()
    assert "DE00" not in output.getvalue()
    assert line["code"] == "server.serverproxy.access_denied"


def test_long_values_are_clipped_and_lines_stay_lines(output: io.StringIO) -> None:
    get_logger().info("odd", service="a\nb" * 1000)
    (line,) = lines(output)
    assert len(line["service"]) == 300


def test_an_exception_is_described_without_its_text() -> None:
    try:
        int("erika.beispiel")
    except ValueError as error:
        described = describe_error(error)
    assert described["error_type"] == "builtins.ValueError"
    assert described["error_at"].startswith("test_logging.py:")
    assert "erika" not in str(described)


def test_other_libraries_are_heard_without_their_arguments(output: io.StringIO) -> None:
    try:
        raise RuntimeError("secret text")
    except RuntimeError:
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", "192.0.2.1")
    logging.getLogger("library").error("already formatted with erika.beispiel")
    first, second = lines(output)
    assert first["event"] == "Error handling request from %s"
    assert first["error_type"] == "builtins.RuntimeError"
    assert first["level"] == "error"
    assert second["event"] == "library message"
    for text in ("secret text", "192.0.2.1", "erika"):
        assert text not in output.getvalue()


def test_below_the_level_nothing_is_written(output: io.StringIO) -> None:
    get_logger().debug("detail")
    assert output.getvalue() == ""
