"""Pictures of what a model does: training curves, confusion, calibration, errors.

Import the figures where they are drawn, not at the top of a module: matplotlib takes its time.
"""
