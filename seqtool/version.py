"""The version of this program; models and runs are marked with it."""

__version__ = "0.1.0"
