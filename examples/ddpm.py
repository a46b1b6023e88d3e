"""Draw digits out of noise: DDPM as tearing down and building up (kexue.fm/archives/9119, 9152; arXiv 2006.11239).

    python examples/ddpm.py --output=digits.png                # a gated attention network over patches, 10 minutes
    python examples/ddpm.py --network=conv --epochs=150 --output=digits.png

Step t tears down, x_t = α_t x_{t−1} + β_t ε with α² + β² = 1; the network learns the noise and builds up again, by DDPM or, in
fewer steps, DDIM. Real digits come with scikit-learn; how sure a classifier of them is of the drawn ones: 0.82 and 0.84.
"""

import keras
import numpy as np
from absl import flags
from keras import layers, ops
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import zoo
from zoo.layers import GatedAttentionUnit, RMSNorm, RotaryEmbedding

F = flags.FLAGS
flags.DEFINE_enum("network", "gau", ["gau", "conv"], "Gated attention over patches of 2 x 2 pixels, or convolutions.")
flags.DEFINE_integer("width", 64, "Numbers of a patch or pixel.")
flags.DEFINE_integer("epochs", 400, "Passes over the 1,797 digits, each with new noise.")
flags.DEFINE_integer("steps", 1000, "T, steps from a digit to noise.")
flags.DEFINE_string("output", "ddpm.png", "Where the picture goes.")


def schedule(steps):  # ᾱ_t = α_1 ... α_t for t = 1 .. T
    return np.cumprod(np.sqrt(1 - 0.02 * np.arange(1, steps + 1) / steps))


def build(noise_of, x, bar, stride=1, eta=1.0, rng=None):
    """Samples from noise x. noise_of(x, t) guesses the noise in x_t. eta 1, stride 1 is DDPM; eta 0 is DDIM."""
    times = np.arange(len(bar) - 1, -1, -stride)
    for i, t in enumerate(times):
        before = bar[times[i + 1]] if i + 1 < len(times) else 1.0
        alpha, beta_bar, beta_before = bar[t] / before, np.sqrt(1 - bar[t] ** 2), np.sqrt(max(0.0, 1 - before**2))
        sigma = eta * beta_before / beta_bar * np.sqrt(1 - alpha**2)
        keep = beta_bar - alpha * np.sqrt(max(0.0, beta_before**2 - sigma**2))  # how much of the guessed noise goes
        x = (x - keep * noise_of(x, t)) / alpha + (sigma * rng.normal(size=x.shape) if sigma else 0.0)
    return x


class GridAttention(GatedAttentionUnit):
    """Rotary positions in two dimensions: half of each query and key turns with the row, half with the column."""

    def project(self, query, key, value):
        u, v, q, k = super().project(query, key, value)
        side = int(q.shape[1] ** 0.5)
        places, rotary = np.divmod(np.arange(side * side), side), RotaryEmbedding(base=1000.0)
        halves = [[rotary.rotate(half, place) for half, place in zip(ops.split(x, 2, -1), places)] for x in (q, k)]
        return u, v, *(ops.concatenate(pair, axis=-1) for pair in halves)


def network(kind, width, steps, image=8, depth=4):
    """The noise in pictures [B, 8, 8, 1] of steps t [B]; no batch norm, the step by a trained table."""
    inputs = picture, step = keras.Input((image, image, 1)), keras.Input((), dtype="int32")
    time, half = layers.Embedding(steps, width)(step), image // 2
    if kind == "gau":
        x = ops.transpose(ops.reshape(picture, (-1, half, 2, half, 2)), (0, 1, 3, 2, 4))
        x = layers.Dense(width)(ops.reshape(x, (-1, half * half, 4)))
        for _ in range(depth):
            normed = RMSNorm()(x + layers.Dense(width)(time)[:, None])
            x = x + GridAttention(2 * width, width // 2, normalization="softmax")(normed)
        x = layers.Dense(4, kernel_initializer="zeros")(RMSNorm()(x))
        x = ops.transpose(ops.reshape(x, (-1, half, half, 2, 2)), (0, 1, 3, 2, 4))
        return keras.Model(inputs, ops.reshape(x, (-1, image, image, 1)))
    x = layers.Conv2D(width, 3, padding="same")(picture)
    for _ in range(depth):
        h = layers.LayerNormalization()(x + layers.Dense(width)(time)[:, None, None])
        x = x + layers.Conv2D(width, 3, padding="same")(layers.Conv2D(width, 3, padding="same", activation="swish")(h))
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros")(x))


def torn_down(digits, bar, size=128):
    """Batches of x_t, t and the noise in them, for ever."""
    rng = np.random.default_rng(0)
    while True:
        x, t = rng.choice(digits, size), rng.integers(0, len(bar), size)
        noise, kept = rng.normal(size=x.shape), bar[t][:, None, None, None]
        yield (kept * x + np.sqrt(1 - kept**2) * noise, t), noise


def draw(sheets):
    """Pictures [rows, columns, 8, 8] by title, side by side in a file."""
    figure = Figure((7.5, 4), dpi=150, layout="constrained")
    for axes, (title, rows) in zip(figure.subplots(1, 2), sheets.items()):
        rows = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)  # a gap between digits
        axes.imshow(np.concatenate([np.concatenate(list(row), 1) for row in rows]), "gray_r", vmin=-1, vmax=1)
        axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(F.output)


def main(_):
    keras.utils.set_random_seed(0)
    pictures, labels = load_digits(return_X_y=True)
    digits, bar = pictures.reshape(-1, 8, 8, 1) / 8 - 1, schedule(F.steps)
    model, batches = network(F.network, F.width, F.steps), len(digits) // 128
    rate = keras.optimizers.schedules.CosineDecay(1e-5, F.epochs * batches, warmup_target=1e-3, warmup_steps=100)
    optimizer = keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.999)  # fit ends with the averaged weights
    model.compile(optimizer, lambda noise, guess: ops.sum((noise - guess) ** 2, (1, 2, 3)))  # summed, not averaged
    model.fit(torn_down(digits, bar), steps_per_epoch=batches, epochs=F.epochs, verbose=2)
    critic = MLPClassifier((128,), max_iter=300, random_state=0).fit(digits.reshape(-1, 64), labels)
    start, chain = np.random.default_rng(1).normal(size=(100, 8, 8, 1)), []

    def noise_of(x, t):
        if t % (F.steps // 10) == 0:
            chain.append(x[:10])
        return np.asarray(model.predict_on_batch([x.astype("float32"), np.full(len(x), t)]))

    ddpm = build(noise_of, start, bar, rng=np.random.default_rng(2))
    draw({"DDPM": ddpm.reshape(-1, 10, 8, 8), "from noise to digits": np.stack([*chain, ddpm[:10]], 1)[..., 0]})
    for name, x in {"DDPM": ddpm, "DDIM": build(noise_of, start, bar, 20, eta=0.0)}.items():
        p = critic.predict_proba(np.clip(x, -1, 1).reshape(-1, 64))
        print(f"{name}: mean confidence {p.max(1).mean():.3f}, {len(set(p.argmax(1)))} of 10 digits")


if __name__ == "__main__":
    zoo.command_line.run(main)
