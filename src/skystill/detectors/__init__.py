"""Detectors: our reference family GFL, and thin wrappers around others."""
