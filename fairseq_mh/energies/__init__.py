"""Energies that are computed by a model: two-stream, autoregressive in both directions, Electric."""
