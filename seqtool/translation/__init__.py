"""Translators: recurrent encoder-decoders with attention, coverage and copying."""
