"""The only part of zoo that asks which backend runs (TensorFlow, JAX or PyTorch)."""

from .compilation import compiled, compiled_step, compiles_each_shape, ignoring_distribution
from .gradients import dense_gradient, gradient_inside, gradients_of, has_value, value_and_gradient
from .kernels import dense_lookup, dropout, layer_norm, rotate_pairs, softmax
from .linear import affine
from .memory import give_back_freed_memory, keep_freed_memory
from .micro_steps import MicroSteps
from .row_cross_entropy import row_cross_entropy
from .rows import concurrently, padding_is_left_out, put_rows, take_rows
from .training_loop import latest_values, pass_over, random_state, set_random_state
from .updates import add_product, allow_no_decay, eagerly, fused_adam, refuse_non_finite, together

__all__ = [
    "MicroSteps",
    "add_product",
    "affine",
    "allow_no_decay",
    "compiled",
    "compiled_step",
    "compiles_each_shape",
    "concurrently",
    "dense_gradient",
    "dense_lookup",
    "dropout",
    "eagerly",
    "fused_adam",
    "gradient_inside",
    "gradients_of",
    "give_back_freed_memory",
    "ignoring_distribution",
    "has_value",
    "keep_freed_memory",
    "latest_values",
    "layer_norm",
    "padding_is_left_out",
    "pass_over",
    "put_rows",
    "random_state",
    "refuse_non_finite",
    "rotate_pairs",
    "row_cross_entropy",
    "set_random_state",
    "softmax",
    "take_rows",
    "together",
    "value_and_gradient",
]
