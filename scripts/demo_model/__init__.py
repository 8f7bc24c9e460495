"""How the demo model is made: corpus, tokenizer, model, export."""
