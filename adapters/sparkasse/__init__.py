"""The savings bank: account information under NextGenPSD2 1.3.11, in the Sparkasse dialect (embedded SCA)."""

from adapters.sparkasse.adapter import build_app

__all__ = ["build_app"]
