"""Scores with signature and statistics, their uncertainty, the kinds of error, the worth of confidences."""
