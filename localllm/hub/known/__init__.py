"""Models whose shapes are recorded in profiles/models: names, facts, headers."""
