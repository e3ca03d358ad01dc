"""The municipal utility: bills in BO4E form, from a SOAP customer service."""

from adapters.stadtwerke.adapter import build_app

__all__ = ["build_app"]
