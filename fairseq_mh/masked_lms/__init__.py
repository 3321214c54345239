"""Masked language models behind the sampler's `MaskedLM` protocol: fairseq's, Hugging Face's, and energies of them."""
