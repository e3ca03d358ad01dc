"""The embedded city Musterstadt: a whole road on one machine, for demonstration and tests."""
