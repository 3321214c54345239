"""The moves of the sampler, one class each."""
