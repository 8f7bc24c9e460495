"""GGUF files: their headers, read without trust and written; parts, hollow copies."""
