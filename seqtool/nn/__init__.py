"""Layers and losses: tensors in, tensors out. Nothing here knows of tasks, or keeps a batch."""
