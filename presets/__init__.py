"""Data only: presets that come with zoo, a folder each, and index.json of published ones; see `zoo.presets`."""
