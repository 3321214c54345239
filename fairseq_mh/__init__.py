"""Metropolis-Hastings decoding of conditional masked language models, as a fairseq plugin."""

__version__ = "0.1.0"
