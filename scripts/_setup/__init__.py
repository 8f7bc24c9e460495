"""The set-up behind scripts/localllm and scripts/test: standard library only, any Python from 3.11
on."""
