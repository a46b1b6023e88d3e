"""Data only: presets that come with zoo, each a folder, and index.json, the published ones (see `zoo.presets`)."""
