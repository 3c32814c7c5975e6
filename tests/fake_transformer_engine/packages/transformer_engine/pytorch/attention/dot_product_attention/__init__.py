"""What attention is asked about."""
