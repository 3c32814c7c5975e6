"""What a model makes of tasks' items: log-likelihoods and generated texts."""
