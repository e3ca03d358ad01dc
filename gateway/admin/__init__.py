"""What an institution does with its gateway: register services, grant access."""
