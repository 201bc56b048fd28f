"""Connection settings and credentials."""
