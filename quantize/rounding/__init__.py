"""Matrices rounded to few bits: to nearest, and with each error made good by the columns that are still to come."""
