"""A stand-in for the utility's SOAP customer service, with invented customers."""

from adapters.stadtwerke.sandbox.app import BASE_PATH, build_app

__all__ = ["BASE_PATH", "build_app"]
