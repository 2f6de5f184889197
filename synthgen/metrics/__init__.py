"""Metrics compare datasets; they know nothing of generators."""
