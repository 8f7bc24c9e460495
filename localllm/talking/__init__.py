"""A conversation with a loaded model, for every shell: it draws nothing."""
