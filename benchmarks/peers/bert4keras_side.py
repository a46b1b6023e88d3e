"""bert4keras 0.11.5 on TensorFlow's Keras 2."""

import os

os.environ["TF_KERAS"] = os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import small
import tensorflow as tf
import texts

tf.keras.optimizers.Optimizer = tf.keras.optimizers.legacy.Optimizer  # it is written for OptimizerV2
from bert4keras.backend import K, keras  # noqa: E402
from bert4keras.models import build_transformer_model  # noqa: E402
from bert4keras.optimizers import Adam  # noqa: E402
from bert4keras.tokenizers import Tokenizer  # noqa: E402


def encoder(workdir):
    folder = os.path.join(workdir, "roformer_v2_small")
    return build_transformer_model(
        os.path.join(folder, "bert_config.json"), os.path.join(folder, "bert_model.ckpt"), "roformer_v2"
    )


def cosent(y_true, y_pred):
    """The loss of kexue.fm/archives/8847 on rows a_0, b_0, a_1, b_1, ..., each with its pair's label."""
    labels, vectors = y_true[::2, 0], tf.math.l2_normalize(y_pred, axis=1)
    scores = 20.0 * K.sum(vectors[::2] * vectors[1::2], axis=1)
    differences = scores[None, :] - scores[:, None]
    terms = tf.where(labels[:, None] > labels[None, :], differences, -1e12)
    return K.logsumexp(tf.concat([[0.0], tf.reshape(terms, [-1])], 0))


def train_small(workdir):
    base = encoder(workdir)
    model = keras.models.Model(base.inputs, keras.layers.Lambda(lambda x: x[:, 0])(base.output))
    model.compile(loss=cosent, optimizer=Adam(2e-5))
    inputs, y = list(small.batch(32)), np.repeat(small.labels(16), 2)[:, None]
    return lambda: model.train_on_batch(inputs, y), {"work": 1, "flops": small.flops(32, 3)}


def infer_small(workdir):
    model = encoder(workdir)
    token_ids, segment_ids = small.batch(256)
    parts = [[token_ids[i : i + 64], segment_ids[i : i + 64]] for i in range(0, 256, 64)]
    path = os.path.join(workdir, "bert4keras.npy")
    np.save(path, model.predict_on_batch(parts[0])[:, 0])
    return lambda: [model.predict_on_batch(part) for part in parts], {
        "work": 256,
        "flops": small.flops(256),
        "output": path,
    }


def tokenize(workdir):
    from bert4keras.snippets import sequence_padding

    tokenizer = Tokenizer({token: i for i, token in enumerate(texts.vocabulary())}, do_lower_case=True)
    lines = texts.chinese()

    def run():
        return sequence_padding([tokenizer.encode(line, maxlen=64)[0] for line in lines])

    return run, {"work": len(lines), "sum": int(run().sum())}
