"""Masked language models of fairseq and Hugging Face behind the sampler's `MaskedLM` protocol."""
