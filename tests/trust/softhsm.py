"""A SoftHSM token of the tests' own, where SoftHSM2 is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "1234"
SECURITY_OFFICER_PIN = "12345678"


def make_token(folder: Path, label: str) -> Path:
    """A fresh token; its configuration file. SoftHSM reads its configuration once in a process: see `softhsm_home`."""
    if not MODULE.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed (Debian: softhsm2)")
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (the extra pkcs11)")
    (folder / "tokens").mkdir(parents=True, exist_ok=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    pins = ["--so-pin", SECURITY_OFFICER_PIN, "--pin", PIN]
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, *pins]
    environment = os.environ | {"SOFTHSM2_CONF": str(configuration)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=20)
    return configuration
