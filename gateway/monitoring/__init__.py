"""Operational monitoring (PR-OPMON 1.6): a record of each exchange, kept for a week, and services that tell them."""
