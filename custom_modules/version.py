"""The version of this program, which is known where it is not installed too: `pyproject.toml` reads it from here."""

VERSION = "0.1.0"
PYTHONS = ((3, 11), (3, 13))
"""The first and the last Python that it runs on, as `pyproject.toml` says them to pip."""
