"""Conversations: the prompt format, and a model to talk to."""
