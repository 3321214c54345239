"""Training criteria that fairseq registers, and their parts."""
