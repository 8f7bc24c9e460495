"""What a person may call a model, and where its files then are."""
