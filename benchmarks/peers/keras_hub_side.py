"""keras-hub's own RoFormerV2, trained with zoo's loss: it has none for matching."""

import keras
import keras_hub
import numpy as np
import small
import texts


def backbone(dtype):
    keras.utils.set_random_seed(0)
    return keras_hub.models.RoformerV2Backbone(head_size=64, dtype=dtype, **small.arguments())


def train_small(workdir, dtype):
    from zoo.losses import CoSENT, cosine_similarity

    base = backbone(dtype)

    class Similarity(keras.layers.Layer):
        def call(self, x):
            vectors = keras.ops.reshape(keras.ops.cast(x[:, 0], "float32"), (-1, 2, 384))
            return cosine_similarity(vectors[:, 0], vectors[:, 1])

    class Matcher(keras.Model):
        def __init__(self):
            super().__init__()
            self.base, self.similarity = base, Similarity(dtype="float32")

        def call(self, inputs, training=None):
            flat = {name: keras.ops.reshape(x, (-1, 64)) for name, x in inputs.items()}
            return self.similarity(self.base(flat, training=training))

    model = Matcher()
    model.compile(optimizer=keras.optimizers.Adam(2e-5), loss=CoSENT())
    token_ids, segment_ids = (x.reshape(16, 2, 64) for x in small.batch(32))
    inputs, y = {"token_ids": token_ids, "segment_ids": segment_ids}, small.labels(16)
    return lambda: model.train_on_batch(inputs, y), {"work": 1, "flops": small.flops(32, 3)}


def infer_small(workdir, dtype):
    model = backbone(dtype)
    token_ids, segment_ids = small.batch(256)
    parts = [{"token_ids": token_ids[i : i + 64], "segment_ids": segment_ids[i : i + 64]} for i in range(0, 256, 64)]
    return lambda: [model.predict_on_batch(part) for part in parts], {"work": 256, "flops": small.flops(256)}


def tokenize(workdir):
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=texts.vocabulary(), lowercase=True, strip_accents=True)
    # The tokenizer alone adds no [CLS] and [SEP].
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=64)
    lines = texts.chinese()

    def run():
        return np.asarray(preprocessor(lines)["token_ids"])

    return run, {"work": len(lines), "sum": int(run().sum())}
