"""The command line: a thin shell over ``localllm.session``; it decides nothing about placement."""
