"""Distil a teacher's sentence vectors into a smaller student without labels, then tune it on pairs beside the teacher.

    python examples/distil.py                                # bundled FAQ, two of four layers kept, offline, in minutes
    python examples/distil.py --fresh --epochs=60,3          # a student of random weights
    python examples/distil.py --teacher=FOLDER --preset=FOLDER --layers=0,2,4,7,9,11 --texts=corpus.tsv --pairs=train.tsv.gz

The student follows the teacher's vectors and their similarities within a batch: layers dropped and tuned at once end lower.
--output gets the teacher's vectors (computed once, block by block) and the preset. A teacher is any object with `encode`.
"""

import hashlib
import os

import keras
import numpy as np
from absl import flags
from keras import ops

import zoo
from zoo.backend.variables import weights_of

F, OWN = flags.FLAGS, "roformer_v2_mini_zh_matching"
FAQ = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "faq_zh")
flags.DEFINE_string("teacher", OWN, "Name or folder of the representation matcher to learn from.")
flags.DEFINE_string("preset", OWN, "Name or folder of the student before layers are dropped.")
flags.DEFINE_list("layers", ["0", "3"], "The layers to keep, spread evenly.")
flags.DEFINE_bool("fresh", False, "Start the student from random weights.")
flags.DEFINE_string("texts", None, "File of texts to distil on, column text; default: the texts of --pairs.")
flags.DEFINE_string("pairs", f"{FAQ}/train.tsv", "Labelled pairs (0, 1) to tune on.")
flags.DEFINE_string("test", f"{FAQ}/test.tsv", "Pairs (0, 1) that are reported.")
flags.DEFINE_list("epochs", ["20", "3"], "Of distillation and of tuning; 0 leaves a stage out.")
flags.DEFINE_integer("batch_size", 32, "Pairs of texts a step.", lower_bound=1)
flags.DEFINE_float("learning_rate", 5e-4, "Peak of each stage, after a warm-up of 10 %.")
flags.DEFINE_string("dtype", "float32", "float32, mixed_bfloat16 or mixed_float16.")
flags.DEFINE_string("output", "student", "Folder of the results.")


class Distillation(keras.losses.Loss):
    """1 - cosine, 5 x the squared difference of similarities, CoSENT where labels differ; y_true `[B, 2, label + d]`."""

    inputs = "embeddings"  # what a matcher hands to its loss: `[B, 2, d]`

    def __init__(self, mean):
        super().__init__(name="distillation", dtype="float32")
        self.mean, self.cosent = ops.convert_to_tensor(mean), zoo.losses.CoSENT()

    def call(self, y_true, y_pred):
        student, teacher = ops.normalize(y_pred, axis=-1), y_true[..., 1:]
        s, t = (ops.normalize(ops.reshape(x, (-1, len(self.mean))) - self.mean, axis=-1) for x in (student, teacher))
        matrices = ops.matmul(s, ops.transpose(s)) - ops.matmul(t, ops.transpose(t))
        followed = ops.mean(1 - ops.sum(s * t, axis=-1)) + 5 * ops.mean(ops.square(matrices))
        return followed + self.cosent(y_true[:, 0, 0], ops.sum(student[:, 0] * student[:, 1], axis=-1))


def teacher_vectors(teacher, texts, folder, block=4096):
    """Unit vectors float16 `[N, D]`; a block of texts whose file is in the folder is not computed again."""
    os.makedirs(folder, exist_ok=True)
    parts = []
    for part in (texts[start : start + block] for start in range(0, len(texts), block)):
        path = os.path.join(folder, hashlib.sha256("\n".join(part).encode()).hexdigest()[:16])
        if not os.path.exists(f"{path}.npy"):
            vectors = keras.utils.normalize(np.asarray(teacher.encode(part), "float32"))
            np.save(f"{path}.part.npy", vectors.astype("float16"))
            os.replace(f"{path}.part.npy", f"{path}.npy")
        parts.append(np.load(f"{path}.npy", allow_pickle=False))
    return np.concatenate(parts)


def fitted(vectors, width):
    """Float32 `[N, width]`: zeros behind, or the directions in which the vectors are longest, so that angles stay."""
    vectors = np.pad(vectors.astype("float32"), ((0, 0), (0, max(0, width - vectors.shape[1]))))
    return vectors if vectors.shape[1] == width else vectors @ np.linalg.eigh(vectors.T @ vectors)[1][:, -width:]


def new_student():
    load, layers = zoo.RepresentationMatcher.from_preset, list(map(int, F.layers))
    given, student = weights_of(load(F.preset)), load(F.preset, F.dtype, load_weights=False, num_layers=len(layers))
    for path, variable in weights_of(student).items() if not F.fresh else ():
        name, _, rest = path.partition("/")
        variable.assign(given[f"layer_{layers[int(name[6:])]}/{rest}" if name.startswith("layer_") else path])
    return student


def train(student, encoded, vectors, rows, labels, epochs):
    plan = zoo.data.BatchPlan(encoded.lengths[rows], F.batch_size, student.buckets, last="drop")

    def collate(batch):
        chosen = rows[batch.indices]
        label = np.broadcast_to(labels[batch.indices, None, None], (*chosen.shape, 1))
        return encoded.batch(chosen, batch.length), np.concatenate([label, vectors[chosen]], -1, dtype="float32")

    optimizer = zoo.optimizers.FusedAdamW(F.learning_rate, weight_decay=0.01, global_clipnorm=1.0)
    optimizer = zoo.optimizers.DecayOverFit(optimizer, end=0.02, shape="cosine")
    student.compile(optimizer, Distillation(vectors.mean(axis=0)))
    data = zoo.data.Batches(plan, collate)
    student.fit(data, epochs=epochs, callbacks=[data.epoch_callback()], shuffle=False, verbose=2)


def main(_):
    keras.utils.set_random_seed(0)
    pairs, test = zoo.data.read_pairs(F.pairs), zoo.data.read_pairs(F.test)
    alone = zoo.data.read_texts(F.texts, ["text"], label=None).text if F.texts else [*pairs.text_a, *pairs.text_b]
    place = {text: row for row, text in enumerate(dict.fromkeys([*alone, *pairs.text_a, *pairs.text_b]))}
    teacher, student = zoo.RepresentationMatcher.from_preset(F.teacher, F.dtype), new_student()
    vectors = teacher_vectors(teacher, list(place), os.path.join(F.output, "vectors"))
    data = student.tokenize(list(place)), fitted(vectors, student.hidden_dim)
    report = {"teacher": teacher.evaluate(test, verbose=0), "layers dropped": student.evaluate(test, verbose=0)}
    rows = np.random.default_rng(0).permutation([place[text] for text in dict.fromkeys(alone)])
    rows = rows[: len(rows) // 2 * 2].reshape(-1, 2)  # two texts a row, as in pairs
    paired = np.array([[place[text] for text in column] for column in pairs.columns]).T
    for stage, (name, *job) in enumerate([("distilled", rows, 0 * rows[:, 0]), ("tuned", paired, pairs.labels)]):
        if epochs := int(F.epochs[stage]):
            train(student, *data, *job, epochs)
            report[name] = student.evaluate(test, verbose=0)
    student.save_to_preset(os.path.join(F.output, "preset"))
    print(*(f"{name:16} spearman {row['spearman']:.4f}" for name, row in report.items()), sep="\n")


if __name__ == "__main__":
    zoo.command_line.run(main)
