"""Model architectures that fairseq registers."""
