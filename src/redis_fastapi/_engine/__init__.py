"""Lookups, leases, puts and evictions, and which entries are valid."""
