"""Serves the page of `fairseq-mh page`, on which a sentence becomes a chain (the extra `page`)."""
