"""Where a model looks: the attention weights of every layer, and how concentrated they are."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from zoo.analysis.sparsity import sparsity
from zoo.backend.variables import backbone_of
from zoo.layers.attention import AttentionLayer
from zoo.metrics import attention_concentration


@dataclasses.dataclass(frozen=True)
class AttentionMaps:
    """What `attention_maps` found; the padding has weights of 0.

    Attributes:
        weights: float32 `[L, B, H, n, n]`, weights of the keys (last axis) for every query; H = 1 in a gated attention
            unit. Softmax rows sum to 1.
        visible: bool, the same shape, which keys the query may see; queries that are padding see none.
        tokens: list of B lists of str, without the padding.
    """

    weights: np.ndarray
    visible: np.ndarray
    tokens: list


@dataclasses.dataclass(frozen=True)
class AttentionReport:
    """What `attention_report` found: means over all queries that see two keys or more, each `[L, H]`.

    `str` gives it as a table, `figure()` as a picture.

    Attributes:
        concentration: S(a), see `zoo.metrics.attention_concentration`; 1 is uniform, small is concentrated.
        entropy: of the weights, in nats.
        entropy_share: of ln(number of visible keys), 1 is uniform. Near 1 training has had little to say.
        keys: the number of keys that share the weight, (Σ a)² / Σ a².
    """

    concentration: np.ndarray
    entropy: np.ndarray
    entropy_share: np.ndarray
    keys: np.ndarray

    def __str__(self) -> str:
        lines = ["layer  head  concentration  entropy  entropy_share   keys"]
        for layer, head in np.ndindex(self.entropy.shape):
            numbers = (getattr(self, field.name)[layer, head] for field in dataclasses.fields(self))
            lines.append("{:5d} {:5d} {:14.3f} {:8.3f} {:14.3f} {:6.2f}".format(layer, head, *numbers))
        return "\n".join(lines)

    def figure(self, title: str | None = None) -> Any:
        """Concentration and share of entropy by layer and head, a `matplotlib.figure.Figure`."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("figures need matplotlib: pip install 'keras-zoo[plots]'") from error
        layers, heads = self.entropy.shape
        size = (3.4 + 0.45 * max(heads, 3), 1.6 + 0.3 * max(layers, 4))
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        names = {"concentration": "S(a)", "entropy_share": "entropy / ln n"}
        for axes, (field, name) in zip(figure.subplots(1, 2), names.items()):
            image = axes.imshow(getattr(self, field), vmin=0, vmax=1, cmap="viridis", aspect="auto")
            axes.set(title=name, xlabel="head", ylabel="layer", xticks=range(heads), yticks=range(layers))
        figure.colorbar(image, ax=figure.axes, label="1 is uniform")
        if title:
            figure.suptitle(title, fontsize=11)
        return figure


def attention_maps(model: Any, texts: Sequence, max_length: int | None = None, batch_size: int = 8) -> AttentionMaps:
    """Attention weights of a backbone, whatever its family and attention options.

    They are those of inference, without dropout. Memory: L · B · H · n² numbers, so choose few texts.

    Args:
        model: a backbone of zoo, or a task over one, with a tokenizer.
        texts: list of str, or of pairs of str.
        max_length: int or None, tokens a row is cut to; None is the task's, 512 for a backbone.
        batch_size: int, rows computed at once.

    Returns:
        AttentionMaps.

    Raises:
        ValueError: no texts, no tokenizer, a backbone without zoo's attention layers.
    """
    backbone = backbone_of(model)
    tokenizer = getattr(model, "tokenizer", None) or getattr(backbone, "tokenizer", None)
    texts = list(texts)
    if tokenizer is None or not texts:
        raise ValueError(f"tokenizer {tokenizer!r}, {len(texts)} texts; expected a model with a tokenizer, and texts")
    options = _options(backbone)
    firsts, text_pairs = zip(*texts) if not isinstance(texts[0], str) else (texts, None)
    inputs = tokenizer(firsts, text_pairs, max_length=max_length or getattr(model, "max_length", None) or 512)
    real = inputs["padding_mask"]
    inputs = {name: array for name, array in inputs.items() if name in backbone.input}
    if "position_ids" in backbone.input:
        inputs["position_ids"] = np.tile(np.arange(real.shape[1], dtype="float32"), (len(real), 1))
    weights, visible = [], []
    for start in range(0, len(texts), batch_size):
        rows = slice(start, start + batch_size)
        with _watched(options) as seen:
            backbone({name: array[rows] for name, array in inputs.items()}, training=False)
        queries = real[rows, None, :, None]
        shown = [_heads(part, real[rows].shape[1], queries) for part in seen]
        weights.append([part for part, _ in shown])
        visible.append([part for _, part in shown])
    weights, visible = (np.concatenate([np.stack(batch) for batch in parts], axis=1) for parts in (weights, visible))
    ids = inputs["token_ids"]
    tokens = [[tokenizer.id_to_token(int(i)) for i in row[mask]] for row, mask in zip(ids, real)]
    return AttentionMaps(weights, visible, tokens)


def attention_report(
    model: Any, texts: Sequence, max_length: int | None = None, batch_size: int = 8
) -> AttentionReport:
    """How concentrated attention is, by layer and head (kexue.fm/archives/9889, 8823).

    Args:
        model, texts, max_length, batch_size: as in `attention_maps`; texts are taken batch by batch.

    Returns:
        AttentionReport.

    Raises:
        ValueError: as in `attention_maps`; no query sees two keys.
    """
    texts = list(texts)
    sums, count = 0.0, 0.0
    for start in range(0, max(len(texts), 1), batch_size):
        maps = attention_maps(model, texts[start : start + batch_size], max_length, batch_size)
        with np.errstate(invalid="ignore", divide="ignore"):
            entropy = sparsity(maps.weights, "entropy")
            numbers = np.stack([
                attention_concentration(maps.weights, maps.visible),
                entropy,
                entropy / np.log(maps.visible.sum(-1)),
                sparsity(maps.weights, "effective_rank"),
            ])  # fmt: skip
        counted = (maps.visible.sum(-1) > 1) & (maps.weights.sum(-1) > 0)  # [L, B, H, n]; squared ReLU may give nothing
        sums = sums + np.where(counted, numbers, 0.0).sum((2, 4))
        count = count + counted.sum((1, 3))
    if not np.any(count):
        raise ValueError("no query sees two keys; expected texts of more than one token")
    with np.errstate(invalid="ignore"):
        return AttentionReport(*(sums / count))


def _options(backbone: Any) -> list:
    """The options of every attention layer, each once."""
    layers = [layer for layer in getattr(backbone, "_flatten_layers", list)() if isinstance(layer, AttentionLayer)]
    if not layers:
        raise ValueError(f"{type(backbone).__name__} has no attention layers of zoo; expected a backbone of zoo")
    return list({id(layer.options): layer.options for layer in layers}.values())


@contextlib.contextmanager
def _watched(options: list) -> Iterator[list]:
    """A list to which the options add (weights, visible) whenever they make weights."""
    seen = []
    for option in options:
        option.watch = lambda *found: seen.append(found)
    try:
        yield seen
    finally:
        for option in options:
            del option.watch


def _heads(found: tuple, length: int, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights float32 and visible bool `[B, H, n, n]` of what a layer has shown, nothing for queries of padding."""
    weights, visible = found
    weights = ops.convert_to_numpy(weights)
    visible = np.ones((1, length), bool) if visible is None else ops.convert_to_numpy(visible)
    visible = np.broadcast_to(visible, weights.shape)
    if weights.ndim == 3:
        weights, visible = weights[:, None], visible[:, None]
    return np.where(queries, weights, 0.0).astype("float32"), visible & queries
