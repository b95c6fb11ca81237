"""Geometry of boxes, without models."""
