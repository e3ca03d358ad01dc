"""The way of a message: consumer gateway, provider gateway, and what each checks in which order (DESIGN section 4)."""
