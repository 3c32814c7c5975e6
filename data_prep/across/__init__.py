"""Steps that need the whole corpus: copies, near copies, copies in meaning, and the best fraction by a score."""
