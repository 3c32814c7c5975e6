"""What a document goes through between the reader and the tokenizer: one module per kind of step."""
