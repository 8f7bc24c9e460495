"""What a repository offers, by the names of its files."""
