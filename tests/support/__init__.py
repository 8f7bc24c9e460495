"""What tests share: a maker of GGUF files, and other stand-ins for the world outside."""
