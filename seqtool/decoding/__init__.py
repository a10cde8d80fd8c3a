"""Search: from a model's next-symbol scores to whole sequences. It knows a `Step`, never a model."""
