"""Tokenizers, and rows of token ids."""
