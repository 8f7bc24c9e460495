"""Plan: a place of the terminal UI."""
