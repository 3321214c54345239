"""Masked language models behind the sampler's protocol."""
