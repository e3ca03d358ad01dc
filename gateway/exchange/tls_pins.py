"""Any client certificate gets through the handshake of the clients' port; whether it is the right one is decided after.

X-Road compares a client system's certificate, byte for byte, with those of its subsystem, and tells whoever shows
another one `ssl_authentication_failed`. Python's ssl can't leave that to us: it has OpenSSL break the handshake off,
and the client learns nothing. OpenSSL has a callback for it (SSL_CTX_set_cert_verify_callback); the context's first
field leads there. `exchange.consumer.require_connection` compares, before anything else of a request counts.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import sys
from typing import Final

_Callback: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def _goes_on(_store: int, _argument: int) -> int:
    # That the client has the certificate's key, TLS itself makes sure of.
    return 1


# OpenSSL keeps the address: it has to be there as long as any context is.
_GOES_ON: Final = _Callback(_goes_on)


# The layouts that were looked at: a newer interpreter is left alone until its own was, for what stands there could be
# no address at all.
_KNOWN_BELOW: Final = (3, 14)


def leave_client_certificates_to_us(context: ssl.SSLContext) -> bool:
    """For a context that asks for certificates. False where the interpreter doesn't let us: then OpenSSL decides."""
    if sys.implementation.name != "cpython" or sys.version_info >= _KNOWN_BELOW:
        return False
    try:
        # The extension module leads to the very library that it was linked with.
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        options, set_callback = library.SSL_CTX_get_options, library.SSL_CTX_set_cert_verify_callback
    except (OSError, AttributeError):
        return False
    options.restype = ctypes.c_uint64
    address = _address_of(context)
    if not address.value or options(address) != int(context.options) & (1 << 64) - 1:
        return False
    set_callback(address, _GOES_ON, None)
    return True


def _address_of(context: ssl.SSLContext) -> ctypes.c_void_p:
    """OpenSSL's context: the first field behind what every object begins with."""
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
