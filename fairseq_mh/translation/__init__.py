"""Decoding a CMLM: options, lengths, starts, chains, selection."""
