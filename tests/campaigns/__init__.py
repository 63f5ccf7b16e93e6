"""Campaigns: long, seeded trials of the whole tool, run by `make campaign`; a short version of each is a test."""
