"""What is asked: suites, data sets, prompts, and how answers are graded."""
