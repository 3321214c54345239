"""Selection of the chains' states as hypotheses, and their order."""
