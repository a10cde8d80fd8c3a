"""Taggers: named entities, parts of speech, any one label a token."""
