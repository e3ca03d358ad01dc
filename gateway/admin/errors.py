"""The error tree of `gateway.admin`.

AdminError                 what the institution asked for can't be done; the text says what to change
└── InvalidDescription     the OpenAPI or WSDL document is not usable
"""

from __future__ import annotations


class AdminError(Exception):
    """What was asked for can't be done; the text is for the institution's operator and says what to change."""


class InvalidDescription(AdminError):
    """A service description that is not what it claims to be."""
