"""The command as a process: where it keeps its data, how it follows a changed file, how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.gateway.instance.road import ROOT, backend, command, road
from tests.gateway.instance.topologies import one_member, service
from trust.keystore import load_pkcs12

APP = "DE-TEST/GOV/1234/app"
_KEY = "ss1/keys/signing.p12"


def of_two_services(port: int = 9) -> str:
    url = f"http://127.0.0.1:{port}"
    return one_member(service("eins", url), service("zwei", url))


def test_a_second_start_keeps_keys_and_becomes_what_the_file_says_now(tmp_path: Path) -> None:
    file, data = tmp_path / "road.toml", tmp_path / "data"
    with backend() as called:
        text = of_two_services(called.port)
        file.write_text(text)
        with road(file, "--directory", str(data)) as first:
            for code in ("eins", "zwei"):
                assert first.call("GET", f"/r1/{APP}/{code}", client=APP).status == 200
            first.stop()
        key = (data / _KEY).read_bytes()
        # The right to the first service is taken away, the second service is gone.
        file.write_text(one_member(service("eins", f"http://127.0.0.1:{called.port}", rights=[])))
        with road(file, "--directory", str(data)) as second:
            denied = second.call("GET", f"/r1/{APP}/eins", client=APP)
            assert denied.json["type"] == "server.serverproxy.access_denied"
            unknown = second.call("GET", f"/r1/{APP}/zwei", client=APP)
            assert unknown.json["type"] == "server.serverproxy.unknown_service"
        assert (data / _KEY).read_bytes() == key
        pin = (data / "ss1/keys/pin").read_text()
        assert load_pkcs12(data / _KEY, pin).certificate.subject.rfc4514_string().startswith("CN=1234")
        # The folder's keys and logs are the first gateway's: another one may not go on with them.
        file.write_text(text.replace('owner = "GOV/1234"', 'owner = "GOV/1234"\ncode = "ss2"'))
        done = subprocess.run(
            command("--topology", str(file), "--directory", str(data)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
        )
    assert done.returncode == 2
    assert "choose another --directory" in done.stderr


def test_a_folder_that_another_instance_uses_is_refused(tmp_path: Path) -> None:
    file, data = tmp_path / "road.toml", tmp_path / "data"
    file.write_text(of_two_services())
    words = command("--topology", str(file), "--directory", str(data))
    with road(file, "--directory", str(data)) as first:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"datenweg: another instance runs in {data}: stop it, or choose another --directory\n"
        assert first.call("GET", f"/r1/{APP}/nichts", client=APP).json["type"] == "server.serverproxy.unknown_service"


def test_the_documents_file_is_there_only_if_all_answer(tmp_path: Path) -> None:
    file, document = tmp_path / "road.toml", tmp_path / "road.json"
    document.write_text("of an earlier start")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = f'owner = "GOV/1234"\nports = {{ client_http = {port} }}'
        file.write_text(of_two_services().replace('owner = "GOV/1234"', ports))
        words = command("--topology", str(file), "--json-file", str(document))
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert not document.exists()


def test_a_temporary_folder_goes_with_the_instance(tmp_path: Path) -> None:
    file = tmp_path / "road.toml"
    file.write_text(of_two_services())
    with road(file) as running:
        directory = Path(running.document["directory"])
        assert directory.is_dir()
        code, said = running.stop()
    assert code == 0, said
    assert not directory.exists()
    assert "3 nodes answer" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_stopped_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "road.toml"
    file.write_text(of_two_services())
    process = subprocess.Popen(
        command("--topology", str(file), "--directory", str(tmp_path / "data")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stderr is not None
        assert "setting up" in process.stderr.readline()
        process.send_signal(number)
        printed, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert printed == "" or printed.endswith("}\n")
    assert "Traceback" not in said


def test_a_fixed_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = tmp_path / "road.toml"
        text = of_two_services().replace(
            'owner = "GOV/1234"', f'owner = "GOV/1234"\nports = {{ client_http = {port} }}'
        )
        file.write_text(text)
        done = subprocess.run(
            command("--topology", str(file)), capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(rf"^datenweg: can't listen at 127\.0\.0\.1, port {port}: .*$", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
