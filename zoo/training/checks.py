"""Precision, compilation and distribution are switches; where one of them does nothing or harm, it is said here.

What works, on the CPU (float32, mixed_bfloat16 and mixed_float16 train; bfloat16 and float16 are for use alone):

| backend | jit_compile="auto" | True | False |
| --- | --- | --- | --- |
| JAX | compiled | the same | op by op: for looking inside, many times slower |
| TensorFlow | graph without XLA on a CPU, XLA on a GPU | XLA | graph |
| torch | eager | torch.compile, a minute for the first step | eager |

Where shapes are compiled (JAX, XLA, torch.compile), zoo's tasks pad to few lengths. Recurrent attention and other scans
do not compile under TensorFlow's XLA.
"""

import warnings

import keras

from zoo.optimizers.wrapper import HALF, OptimizerWrapper, chain


def check_training(model, stacklevel=3):
    """Refuse to train float16 weights, warn of bfloat16 ones: a policy that is not mixed stores the weights so.

    Those for which `LowRank` keeps what they lack of float32, or which it does not train, are left out.

    Raises:
        ValueError: trainable weights are float16, in which squares of gradients are 0 and the first step is noise.
    """
    variables = model.trainable_variables
    for one in chain(model.optimizer):
        variables = one.rounded(variables) if isinstance(one, OptimizerWrapper) else variables
    dtypes = {keras.backend.standardize_dtype(v.dtype): v.path for v in variables}
    for dtype in sorted(set(dtypes) & set(HALF), reverse=True):
        message = (
            f"{type(model).__name__} stores trainable weights such as {dtypes[dtype]} in {dtype}, whose steps are lost in "
            f"rounding; dtype='mixed_{dtype}' computes in {dtype} and keeps the weights in float32. For using a model, "
            f"dtype='{dtype}' is fine"
        )
        if dtype == "float16":
            raise ValueError(message)
        warnings.warn(message, stacklevel=stacklevel)
