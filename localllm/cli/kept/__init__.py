"""The commands for models that are here: list, show, rm, verify, prune."""
