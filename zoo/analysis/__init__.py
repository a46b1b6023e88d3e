"""Reports on models and vectors."""
