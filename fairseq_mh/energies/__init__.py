"""Energies that read a model: two-stream, autoregressive, Electric."""
