"""What data steps there are: names, options, defaults and order. Their code is in `data_prep`, found by name."""
