"""Losses of a prediction against the truth; one file is one loss."""
