"""The registry: knows members, gateways and approved authorities, and publishes that, signed, each minute."""
