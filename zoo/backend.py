"""The only module that asks which backend runs (TensorFlow, JAX or PyTorch)."""

import keras
from keras import ops


def dense_lookup(table, ids):
    """Rows of a table, with a dense gradient on every backend.

    TensorFlow's own gather gives a sparse gradient whose repeated rows Keras' Adam, AdamW and
    `global_clipnorm` do not add up, so that repeated ids are trained with wrong numbers there.

    Args:
        table: float `[V, d]`, a variable or tensor.
        ids: int `[...]`.

    Returns:
        float `[..., d]`.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.take(table, ids, axis=0)
    import tensorflow as tf

    @tf.custom_gradient
    def lookup(rows):
        def gradient(upstream):
            flat = tf.reshape(upstream, [-1, rows.shape[-1]])
            return tf.math.unsorted_segment_sum(flat, tf.reshape(ids, [-1]), rows.shape[0])

        return tf.gather(rows, ids), gradient

    return lookup(tf.convert_to_tensor(table))
