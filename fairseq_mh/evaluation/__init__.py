"""Comparing decoders: what `fairseq-generate` printed and traced, scored and put into tables (the extra `eval`)."""
