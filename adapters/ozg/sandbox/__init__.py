"""A stand-in for the citizen API of ZMS, with the offices of Musterstadt."""

from adapters.ozg.sandbox.app import BASE_PATH, build_app

__all__ = ["BASE_PATH", "build_app"]
