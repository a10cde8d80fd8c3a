"""Trained models on disk: folders, tensors, descriptions, facts and averages."""
