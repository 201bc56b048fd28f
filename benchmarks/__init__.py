"""How fast callframe is and how much memory it takes, beside what else there is. Run `python -m benchmarks`."""
