"""Readers and writers of foreign checkpoints. They work on what `zoo.store` hands out and never open a file."""
