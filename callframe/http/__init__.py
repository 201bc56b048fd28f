"""HTTP requests that leak no secrets."""
