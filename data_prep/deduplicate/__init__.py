"""Copies, exact and near, over the whole corpus: which documents to drop, found from what every unit left behind."""
