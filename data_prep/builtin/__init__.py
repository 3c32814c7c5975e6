"""``data.input=builtin``: the English text that a Python installation carries."""
