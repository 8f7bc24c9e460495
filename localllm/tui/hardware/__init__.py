"""Hardware: a place of the terminal UI."""
