"""Decoding of a CMLM: options, lengths, starts, chains and selection."""
