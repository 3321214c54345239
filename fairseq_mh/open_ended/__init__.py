"""Open-ended generation, the second task of the paper: sampling from masked language models without a source."""
