"""localllm: what fits, how fast, how hungry; then it runs."""

__version__ = "0.1.0"
