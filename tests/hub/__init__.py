"""Tests of localllm.hub."""
