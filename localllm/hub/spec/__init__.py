"""A header -> core.model: hyperparameters by architecture, as llama.cpp reads them."""
