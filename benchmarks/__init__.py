"""Benchmarks of speed, memory and structure. Run `python -m benchmarks`."""
