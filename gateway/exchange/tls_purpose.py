"""What OpenSSL asks of a client certificate's purpose.

PR-MESSTRANSP 2.1 knows an authentication certificate by clientAuth, or by a key usage that serves TLS; OpenSSL's own
rule for clients refuses some of these, such as one with serverAuth alone. Python has no way to say so for one context.
OpenSSL has one for the process: its table of named verification parameters, of which the entry `ssl_client` is what a
server checks client certificates by. Path, validity and signatures are checked as before; the usage is checked by
`trust.certificates`, after the handshake and before a byte of a message is looked at.
"""

from __future__ import annotations

import _ssl
import ctypes
from functools import cache
from typing import Final

_PURPOSE_ANY: Final = 7  # X509_PURPOSE_ANY
_TRUST_SSL_CLIENT: Final = 2  # X509_TRUST_SSL_CLIENT, as OpenSSL's own entry has it


@cache
def leave_client_usage_to_us() -> bool:
    """Once for the process. False where the interpreter hides its OpenSSL: then such certificates are refused."""
    try:
        # The extension module leads to the very library that it was linked with.
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        new = library.X509_VERIFY_PARAM_new
        name, purpose = library.X509_VERIFY_PARAM_set1_name, library.X509_VERIFY_PARAM_set_purpose
        trust, add = library.X509_VERIFY_PARAM_set_trust, library.X509_VERIFY_PARAM_add0_table
    except (OSError, AttributeError):
        return False
    new.restype = ctypes.c_void_p
    address = new()
    parameters = ctypes.c_void_p(address)
    return bool(
        address
        and name(parameters, b"ssl_client")
        and purpose(parameters, _PURPOSE_ANY)
        and trust(parameters, _TRUST_SSL_CLIENT)
        and add(parameters)
    )
