"""The verifier that runs in the citizen's browser: WebCrypto only, downloadable as one file.

`verifier.js` checks a bundle, by `notes.js` (who signed) and `tree.js` (hashes and proofs), and says in the words of
`messages.js` what is wrong; `page.js` shows it. Who is given the verifier gets its parts as one text. A page that a
gateway serves could lie; the downloaded file can be kept, compared by its hash and used offline. It trusts the log keys
that it was built with, never those that a bundle brings along.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Final

_PARTS: Final = ("messages.js", "tree.js", "notes.js", "verifier.js")
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
    """The verifier's functions as one module, for a page that imports it."""
    return _joined(_PARTS).encode()


def build_verifier(vkeys: Sequence[str], *, policy: str = "") -> bytes:
    """The verifier as one HTML file that trusts these log keys. The same keys give the same bytes.

    `policy` is a tlog-policy's text: with it the page demands its quorum of witnesses.
    """
    script = _inline(_joined((*_PARTS, "page.js")))
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    keys = json.dumps({"vkeys": list(vkeys), "policy": policy}).replace("<", "\\u003c")
    allowed = f"script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    rules = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return _PAGE.format(policy=rules, style=style, keys=keys, script=script).encode()


def _joined(names: Sequence[str]) -> str:
    """Modules as one, each after those that it takes from: what they import from each other is there then."""
    folder = files(__package__)
    text = "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("import "))


def _inline(module: str) -> str:
    """A module's text without its exports: nothing imports an inline script."""
    return "".join(line.removeprefix("export ") for line in module.splitlines(keepends=True))


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
