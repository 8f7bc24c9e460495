"""Parts of the scripts that hold localllm's figures against reality."""
