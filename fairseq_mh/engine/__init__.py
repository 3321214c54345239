"""A decoder for many masked rows of few sentences."""
