"""Layers: tensors in, tensors out; no file, no task, no batch kept."""
