"""What is measured while an answer comes, beside the conversation and beside its estimate."""
