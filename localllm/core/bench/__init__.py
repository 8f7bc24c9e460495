"""Benchmarks as values: what is swept, the rows, their energy, and what differs between two."""
