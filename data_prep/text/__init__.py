"""What a text is made of: its words, sentences, and the numbers that heuristics look at."""
