"""Training loops, batches and checks that tasks share."""

from zoo.training.gradient_combination import min_norm_weights as min_norm_weights
from zoo.training.gradient_combination import primary_task_weights as primary_task_weights
