"""``localllm chat``: the command is in ``command``, imported only when it is called."""
