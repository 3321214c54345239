"""Serves the page of `fairseq-mh page`, which translates a sentence and shows its chains (needs the extra `page`)."""
