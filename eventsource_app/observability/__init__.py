"""Logs and correlation: a leaf that imports nothing else of ours."""
