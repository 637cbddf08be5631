"""Whole runs by name, from data to table, and what they cost."""
