"""Pictures of what a model does: learning curves, attention, states, gates, gradients, errors.

Import drawing functions where they are used, not at the top of a module: loading matplotlib takes time.
"""
