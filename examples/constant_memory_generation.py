"""Generate with nothing kept but the token ids: attention as a recurrence, paid for in time (kexue.fm/archives/10017).

    python examples/constant_memory_generation.py --output=memory.png

Attention can keep a state of one size: adding key after key, Z ← Z + e^s and o ← o + (e^s / Z) (v − o) are all that a query
needs, and the keys of a layer are computed anew, each from the layer below at its place, which does the same. The token after t
others then takes C(t + L − 1, L) reads of an embedding, about t^L / L! in L layers, and a state a layer, whatever t is; with a
cache of keys and values, time and memory grow with t. Both ways are this one recurrence in NumPy, over the weights of a
fresh zoo model, and their tokens are compared with those of `CausalLM.generate`.
"""

import time
import tracemalloc

import numpy as np
from absl import flags
from keras import ops, utils
from matplotlib.figure import Figure

import zoo

F, normed = flags.FLAGS, lambda x: x / np.sqrt(np.mean(x**2) + 1e-7)
flags.DEFINE_list("longest", "512,256,64", "Tokens up to which models of 1, 2, 3 ... layers generate.")
flags.DEFINE_integer("width", 32, "Hidden width.")
flags.DEFINE_string("output", "constant_memory_generation.png", "Where the picture goes.")
PROMPT = [2, 7, 9, 11]


def fresh(layers, width):
    """A language model of gated attention units. Without a transform a fresh tied output repeats its input."""
    utils.set_random_seed(layers)
    backbone = zoo.GAUAlpha(
        200, layers, width, key_dim=width // 2, num_segments=0, normalization="softmax", attention_mask="causal"
    )
    return zoo.CausalLM(backbone, output_transform="swap_halves")


class Recurrence:
    """The same model, place by place; `reads` counts the embeddings that it has read."""

    def __init__(self, model):
        units, table = [block.gau for block in model.backbone.blocks], model.backbone.token_embedding.embeddings
        parts = [(u.input_dense.kernel, u.query_scale.gamma, u.key_scale.gamma, u.output_dense.kernel) for u in units]
        self.table, *self.layers = [[np.float64(ops.convert_to_numpy(w)) for w in part] for part in ([table], *parts)]
        self.table, self.size, self.expanded = self.table[0], units[0].key_dim, units[0].expanded_dim
        self.theta, self.reads = 10000.0 ** (-2 * np.arange(self.size // 2) / self.size), 0

    def project(self, layer, x, place):
        """u and v `[e]`, q and k `[s]` of one place, rotated."""
        kernel, query_scale, key_scale, _ = self.layers[layer]
        h = x @ kernel
        h /= 1 + np.exp(-h)  # silu
        z, turn = h[2 * self.expanded :], np.exp(1j * place * self.theta)
        query, key = (((z * scale).view(complex) * turn).view(float) for scale in (query_scale, key_scale))
        return h[: self.expanded], h[self.expanded : 2 * self.expanded].copy(), query / np.sqrt(self.size), key

    def state(self, ids, place, layers, kept):
        """Output `[d]` of so many layers at a place of the token ids. kept: a dict of keys and values, or None."""
        if not layers:
            self.reads += 1
            return normed(self.table[ids[place]])
        x = self.state(ids, place, layers - 1, kept)
        gate, value, query, key = self.project(layers - 1, x, place)
        if kept is not None:
            kept[layers, place] = value, key
        largest, z, o = query @ key, 1.0, value.copy()  # begins with the token's own key
        for i in range(place):
            if kept is None:
                _, value, _, key = self.project(layers - 1, self.state(ids, i, layers - 1, None), i)
            else:
                value, key = kept[layers, i]
            if (score := query @ key) > largest:  # Z is relative to the largest score, or it would overflow
                largest, z = score, z * np.exp(largest - score)
            z += (weight := np.exp(score - largest))
            o += weight / z * (value - o)
        return normed(x + (gate * o) @ self.layers[layers - 1][3])

    def next_token(self, ids, kept=None):
        x = self.state(ids, len(ids) - 1, len(self.layers), kept)
        return int((self.table @ np.roll(x, len(x) // 2)).argmax())


def measured(recurrence, text, places, cached, memory):
    """Token after so many, and its seconds or the peak of bytes that are held beside the token ids, `[places]` each."""
    kept, found = {} if cached else None, []
    tracemalloc.start() if memory else None
    for place in range(1, places[-1] + 1) if cached else places:  # a cache has to have been filled
        tracemalloc.reset_peak()
        start = time.perf_counter()
        token = recurrence.next_token(text[:place], kept)
        cost = tracemalloc.get_traced_memory()[1] if memory else time.perf_counter() - start
        found += [(token, cost)] if place in places else []
    tracemalloc.stop()
    return np.array(found).T


def main(_):
    figure = Figure((9, 3.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2)
    units = {"ms a token": 1e3, "KiB held beside the token ids": 1 / 1024}
    for layers, longest in enumerate(map(int, F.longest), 1):
        model = fresh(layers, F.width)
        text = np.array(PROMPT + model.generate([PROMPT], longest - len(PROMPT) + 1, end=())[0])
        places = [*(p for p in (4, 8, 16, 32, 64, 128, 256) if p < longest), longest]
        for cached, style in ((False, "o-"), (True, ".--")):
            name = f"{layers} layer{'s' * (layers > 1)}, {'a cache' if cached else 'token ids alone'}"
            for axes, memory, (label, unit) in zip(panels, (False, True), units.items()):
                tokens, costs = measured(Recurrence(model), text, places, cached, memory)
                axes.plot(places, costs * unit, style, color=f"C{layers - 1}", markersize=4, label=name)
                axes.set(xscale="log", yscale="log", xlabel="t, tokens", ylabel=label)
                power = np.log(costs[-1] / costs[-2]) / np.log(places[-1] / places[-2])
                print(f"{name:26} {costs[-1] * unit:9.2f} {label} at t = {longest}, growing as t^{power:.2f}", end=", ")
                print(f"{int(sum(tokens == text[places]))} of {len(places)} tokens as by generate", flush=True)
    panels[1].legend(frameon=False, fontsize=8)
    figure.savefig(F.output)


if __name__ == "__main__":
    zoo.command_line.run(main)
