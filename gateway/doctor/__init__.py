"""The diagnosis of a gateway: what is wrong, and what to do (`datenweg doctor`, `/healthz?full`)."""
