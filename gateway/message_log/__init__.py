"""The message log at work: what is kept of a message, time-stamps, export, archives, retention, search."""
