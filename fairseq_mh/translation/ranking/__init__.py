"""Which states of the chains become hypotheses, and in which order."""
