"""Institutions: adapters to their backends, and sandboxes that stand in for those backends."""
