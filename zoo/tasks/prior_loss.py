"""The loss of a task that has learned nothing but the labels: that of its best constant output."""

import numpy as np
from keras import ops

from zoo.losses import needs
from zoo.tasks.text_task import TextTask

BATCHES = 16  # of the first epoch, over which the loss is averaged


def prior_loss(task, batches):
    """Mean loss over some batches, where the output is the same for every row and the best such one.

    For classes it is the logarithm of their shares, and the loss is the entropy of the labels. For a score or cosine it is
    searched for. A loss on embeddings sees equal ones.

    Args:
        task: a compiled matcher or classifier. batches: `zoo.training.RecordBatches` of its training records.

    Returns:
        float.
    """
    examples = batches.examples
    chosen = batches.plan(0)[:BATCHES]
    classes = getattr(task, "num_classes", None)

    def loss(output):
        values = []
        for batch in chosen:
            outputs = np.broadcast_to(output, (len(batch), *np.shape(output))).astype("float32")
            arrays = (examples.labels[batch.indices], outputs, batch.weights)
            # Not the task's own: a representation matcher's takes embeddings and makes a cosine of them.
            values.append(TextTask.compute_loss(task, None, *map(ops.convert_to_tensor, arrays), training=True))
        return float(np.mean([ops.convert_to_numpy(value) for value in values]))

    if classes is not None and classes > 1:
        counts = np.bincount(examples.labels.astype("int64"), minlength=classes)
        return loss(np.log(np.maximum(counts, 1e-6) / counts.sum()))
    if needs.inputs_of(task.loss) == "embeddings":
        return loss(np.ones((examples.rows.shape[1], task.hidden_dim)))
    similarity = np.ndim(examples.rows) == 2  # a cosine, else a free score
    return min(loss(np.float64(output)) for output in np.linspace(-1, 1, 81) * (1 if similarity else 10))
