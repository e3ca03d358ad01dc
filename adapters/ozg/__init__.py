"""The city's offices: appointments through the citizen API of ZMS (Berlin, Munich)."""

from adapters.ozg.adapter import build_app

__all__ = ["build_app"]
