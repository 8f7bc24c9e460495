"""What localllm writes down on this machine, in the state folder: conversations and runs."""
