"""Training loops, batches and checks that tasks share."""
