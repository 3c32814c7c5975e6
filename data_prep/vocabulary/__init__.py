"""A smaller vocabulary out of a larger one, by how often its tokens are used."""
