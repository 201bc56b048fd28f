"""The Functions API: its records, its endpoints, and reading listings in parallel."""
