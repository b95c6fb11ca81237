"""Annotation formats: one file each, with a `read` and a `write`."""
