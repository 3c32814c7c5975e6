"""The version of this program, which is known where it is not installed too: `pyproject.toml` reads it from here."""

VERSION = "0.1.0"
