"""What NeMo's keys are here: a table with an entry a key, and how a config that has some becomes one of ours."""
