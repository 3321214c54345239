"""Open-ended generation: the sampler on masked language models of text alone, the paper's other half."""
