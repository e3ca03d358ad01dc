"""Who is who, and is it signed: identifiers, certificates, signatures, time-stamps, the global configuration."""
