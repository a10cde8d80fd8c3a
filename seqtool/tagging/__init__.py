"""Taggers: named entities, parts of speech, any one label per token."""
