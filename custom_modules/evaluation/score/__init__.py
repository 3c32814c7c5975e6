"""What a model answers: log-likelihoods and generated texts, the same bits whatever stands beside them."""
