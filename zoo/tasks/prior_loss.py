"""The loss of a task that has learned nothing but the labels: that of its best constant output."""

import numpy as np
from keras import ops

from zoo.losses import needs
from zoo.tasks.text_task import TextTask

BATCHES = 16  # of the first epoch, over which the loss is averaged


def prior_loss(task, batches):
    """Mean loss over some batches, where the output is the same for every row and the best such one.

    For classes it is a power of their shares, 1 for cross entropy, whose loss is then the entropy of the labels. A score or
    cosine is searched for. A loss on embeddings sees equal ones.

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
        shares = np.log(np.maximum(counts, 1e-6) / counts.sum())
        # Cross entropy is least at power 1; a bounded loss where the likeliest class takes all.
        return min(loss(power * shares) for power in (1.0, 0.0, 0.5, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0))
    if needs.inputs_of(task.loss) == "embeddings":
        return loss(np.ones((examples.rows.shape[1], task.hidden_dim)))
    low, high = -1.0, 1.0  # of a cosine
    if np.ndim(examples.rows) == 1:  # a free score: as far as logits go, and the labels
        low, high = min(-10.0, float(np.min(examples.labels))), max(10.0, float(np.max(examples.labels)))
    bounds = low, high
    for _ in range(3):  # each time nearer to the best of 41
        outputs = np.linspace(low, high, 41)
        losses = [loss(output) for output in outputs]
        best, step = outputs[np.argmin(losses)], (high - low) / 40
        low, high = max(bounds[0], best - step), min(bounds[1], best + step)
    return min(losses)
