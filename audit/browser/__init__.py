"""The verifier that runs in the citizen's browser: WebCrypto only, downloadable as one file.

`verifier.js` checks, `page.js` shows. A page that a gateway serves could lie; the downloaded file can be kept,
compared by its hash and used offline. It trusts the log keys that it was built with, never those that a bundle brings
along.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Final

_PAGE: Final = """<!doctype html>
<html lang="de">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<title>Datenweg</title>
<style>{style}</style>
</head>
<body>
<main>
<button type="button" id="switch"></button>
<h1 id="title"></h1>
<p id="intro"></p>
<label for="file" id="choose"></label>
<input type="file" id="file" accept=".json,application/json">
<div id="result" role="status"></div>
<noscript><p lang="de">Die Prüfung braucht JavaScript.</p><p lang="en">The check needs JavaScript.</p></noscript>
</main>
<script type="application/json" id="policy">{keys}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def verifier_module() -> bytes:
    """`verifier.js`, for a page that imports it."""
    return files(__package__).joinpath("verifier.js").read_bytes()


def build_verifier(vkeys: Sequence[str], *, policy: str = "") -> bytes:
    """The verifier as one HTML file that trusts these log keys. The same keys give the same bytes.

    `policy` is a tlog-policy's text: with it the page demands its quorum of witnesses.
    """
    folder = files(__package__)
    script = _inline("".join(folder.joinpath(name).read_text("utf-8") for name in ("verifier.js", "page.js")))
    style = folder.joinpath("page.css").read_text("utf-8")
    keys = json.dumps({"vkeys": list(vkeys), "policy": policy}).replace("<", "\\u003c")
    allowed = f"script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    rules = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return _PAGE.format(policy=rules, style=style, keys=keys, script=script).encode()


def _inline(module: str) -> str:
    """A module's text without its exports: nothing imports an inline script."""
    lines = (line.removeprefix("export ") for line in module.splitlines() if not line.startswith("export {"))
    return "\n".join(lines) + "\n"


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
