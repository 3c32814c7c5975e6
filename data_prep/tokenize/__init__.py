"""Clean text becomes tokens here: the tokenizer, a document's stage and split, and every unit's tokens in a shard."""
