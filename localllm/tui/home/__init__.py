"""Models: a place of the terminal UI."""
