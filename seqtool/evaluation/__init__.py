"""Scores with signatures and statistics, their uncertainty, kinds of errors, calibration of confidences."""
