"""Energies that are computed by a model: two-stream, autoregressive, Electric."""
