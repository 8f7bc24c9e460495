"""One model, several files, downloaded so that no byte is lost and no wrong one kept."""
