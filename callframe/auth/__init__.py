"""Connection options and credentials."""
