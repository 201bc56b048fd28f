"""HTTP requests that never reveal secrets."""
