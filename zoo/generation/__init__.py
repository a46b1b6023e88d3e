"""Decoding: one token after another, with a cache."""
