"""A node's own configuration: clients, services, access rights and copies of consents."""
