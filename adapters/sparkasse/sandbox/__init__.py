"""A stand-in for the bank's XS2A interface, in the Sparkasse dialect, with invented customers."""

from adapters.sparkasse.sandbox.app import BASE_PATH, build_app

__all__ = ["BASE_PATH", "build_app"]
