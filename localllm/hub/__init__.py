"""Names and files -> core.model: the GGUF header reader, and the resolution of model names."""
