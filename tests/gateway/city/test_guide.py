"""docs/citizen-app-guide.md as it stands: its commands and its program, against the demo that it starts."""

from __future__ import annotations

import html
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode, urljoin

from gateway.city.plan import Plan
from tests.gateway.exchange.ports import free_ports

GUIDE = Path(__file__).parents[3] / "docs/citizen-app-guide.md"
_SPAN = 50
_WAIT = 60


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def log_in(address: str) -> None:
    """What the guide asks its reader to do in a browser."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with browser.open(address, timeout=20) as answer:
        page, url = answer.read().decode(), answer.url
    action = re.search(r'<form[^>]*action="([^"]*)"', page)
    assert action is not None
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    form = {name: html.unescape(value) for name, value in fields.items()}
    form |= {"username": "erika.beispiel", "password": "musterstadt"}
    with browser.open(urljoin(url, html.unescape(action[1])), urlencode(form).encode(), timeout=20) as answer:
        assert b"close this window" in answer.read()


def lines_of(process: subprocess.Popen[str], until: str) -> list[str]:
    """What a process prints, up to a line that holds `until`."""
    found: list[str] = []
    watchdog = threading.Timer(_WAIT, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found.append(line.rstrip("\n"))
            if until in line:
                return found
    finally:
        watchdog.cancel()
    raise AssertionError("\n".join(found))


def test_the_guide_leads_to_a_first_call(tmp_path: Path) -> None:
    start, first = blocks("sh")
    (program,) = blocks("python")
    base = free_ports(_SPAN)
    # The guide's own ports may be taken here; nothing else is changed.
    guides, ours = Plan(tmp_path, 8000), Plan(tmp_path, base)
    assert guides.citizen_url in GUIDE.read_text("utf-8")
    (tmp_path / "first_call.py").write_text(program, "utf-8")
    words = shlex.split(start.replace("8000", str(base)))
    assert words[0] == "datenweg"
    began = time.monotonic()
    city = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(GUIDE.parents[1]), "PATH": "/usr/bin:/bin", "COLUMNS": "300"},
    )
    try:
        printed = lines_of(city, "Ctrl-C stops the city")
        assert any(ours.citizen_url in line for line in printed)
        python, *rest = shlex.split(first.replace(guides.citizen_url, ours.citizen_url))
        assert python == "python"
        app = subprocess.Popen(
            [sys.executable, *rest], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
        )
        try:
            (address,) = (line.partition("browser: ")[2] for line in lines_of(app, "Open this in a browser"))
            log_in(address)
            output, _ = app.communicate(timeout=_WAIT)
        finally:
            app.kill()
            app.communicate()
        assert app.returncode == 0, output
        assert "identity level: high" in output
        assert re.search(r"^  balance +Savings bank accounts \(consent\)$", output, re.MULTILINE), output
        assert re.search(r"^first call: 200 200 request [0-9a-f-]{36}$", output, re.MULTILINE), output
        assert "in the access log: True" in output
        assert re.search(r"^device: First call \(this one\)$", output, re.MULTILINE), output
    finally:
        city.terminate()
        city.communicate(timeout=_WAIT)
    assert city.returncode == 0
    # Ten minutes are for reading; the machine's part of them is small.
    assert time.monotonic() - began < 120
