"""One target under the fuzzer, in a process of its own: `python -m tests.fuzz.worker TARGET [libFuzzer's options]`.

A target that raises, hangs or eats memory ends the process; libFuzzer has written the input by then.
"""

from __future__ import annotations

import sys
import warnings

import atheris

# Beside our own packages the two libraries in Python that parse for them.
with atheris.instrument_imports(include=["trust", "audit", "gateway", "joserfc", "yaml"]):
    from tests.fuzz.material import keep
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Runs until libFuzzer's options say that it is enough."""
    name, *options = sys.argv[1:]
    target = TARGETS[name]
    keep()
    # What a library warns of today it may refuse tomorrow; it is no finding.
    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], *options], target.accepts)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
