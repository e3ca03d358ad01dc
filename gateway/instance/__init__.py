"""A test instance from a file: a whole road on loopback, for foreign clients and services, and for the demo city."""
