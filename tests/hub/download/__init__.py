"""Tests of localllm.hub.download."""
