"""Tests of the product on a pretend accelerator."""
