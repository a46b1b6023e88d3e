"""Backbones, heads and presets."""
