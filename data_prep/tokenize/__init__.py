"""From clean text to tokens: the tokenizer, a document's stage and split, and every unit's tokens in a shard."""
