"""Effective receptive fields: input gradients and their figures."""
