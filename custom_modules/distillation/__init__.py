"""What teachers say of a dataset, beside the dataset: rows of probabilities and texts of their own."""
