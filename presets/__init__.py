"""Data only: the presets of zoo, a folder each, and index.json of published ones. `zoo.presets()` lists them."""
