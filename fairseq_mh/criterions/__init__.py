"""Training criteria that fairseq registers, and what they are made of."""
