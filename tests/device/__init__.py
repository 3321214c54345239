"""An accelerator that nobody has: what the product does with one, on a pretend device."""
