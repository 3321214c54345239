"""Reads what decoders printed and traced, scores it, and puts the scores into tables (the extra `eval`)."""
