"""Conversion of the checkpoints that Mask-Predict's authors published."""
