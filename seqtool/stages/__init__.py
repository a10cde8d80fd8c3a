"""The jobs of a run before its last one: what a model learns from raw text first."""
