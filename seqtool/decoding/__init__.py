"""Search and sampling: from next-symbol scores to whole sequences. They know a `Step`, never a model.

Shapes: B sentences, K beam (hypotheses per sentence), N = B x K rows, T steps, S source positions, V symbols.
"""
