"""Scores with signatures and statistics per sentence, their uncertainty, kinds of errors, calibration."""
