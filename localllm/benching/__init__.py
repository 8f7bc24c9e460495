"""A benchmark from its wishes to its rows, for every shell: it draws nothing."""
