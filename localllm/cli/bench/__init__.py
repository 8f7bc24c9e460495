"""``localllm bench``: llama-bench's tests on the engine that chats, next to the plan."""
