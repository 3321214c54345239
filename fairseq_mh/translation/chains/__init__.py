"""The chains of a batch: how many, where they start, and the decoders that run them."""
