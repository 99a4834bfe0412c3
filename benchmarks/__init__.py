"""Joins makers and catchers: the demo, and measurements of speed."""
