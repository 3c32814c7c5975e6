"""`danube mt-bench`: a chat model's answers to MT-Bench, rated by a judge (sections 6.3 and 7), in FastChat's files."""
