"""What localllm writes down on this machine: conversations, in the state folder."""
