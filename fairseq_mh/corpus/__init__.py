"""Whole corpora: lines in, records out, on any number of workers."""
