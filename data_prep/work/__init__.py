"""How the work is done: files that appear whole, processes and tasks that make them, and how far they are."""
