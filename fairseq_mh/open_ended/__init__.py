"""Open-ended generation: the sampler on masked language models of text alone, the other half of the paper."""
