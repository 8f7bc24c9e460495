"""Chat: a place of the terminal UI."""
