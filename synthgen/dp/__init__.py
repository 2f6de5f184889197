"""Differential privacy: what a fit may spend, and the record of what it spent."""
