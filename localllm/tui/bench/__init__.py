"""Bench: a place of the terminal UI."""
