"""The prompt format of chat models, and their tokenizer."""
