"""Scores the outputs and traces of decoders, and puts the scores into tables (needs the extra `eval`)."""
