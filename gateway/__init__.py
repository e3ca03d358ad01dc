"""The road: gateways, registry, citizen pages, administration. Nothing imports it (docs/architecture.md)."""

__version__ = "0.1.0"
