"""A trained model on disk: its folder, tensors, facts and averages."""
