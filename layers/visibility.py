"""Rules about which keys a query may see that depend on their places only: windows and directions.

Places are counted in tokens, 0 .. n-1, whatever the position ids are.
"""

from keras import ops

from zoo.layers.plugins import Plugin


class Window(Plugin):
    """Query i sees key j where |i − j| < width; under a causal mask, j in (i − width, i].

    `Window(train_length)` in every layer of a trained model is the baseline of length extrapolation
    (kexue.fm/archives/9431); narrow windows make a model whose scores never see an untrained distance
    (`zoo.layers.hwfa`).

    Args:
        width: int >= 1.
    """

    def __init__(self, width):
        if not isinstance(width, int) or width < 1:
            raise ValueError(f"Window: width={width!r}; expected an int >= 1, the number of tokens seen on one side")
        self.width = width

    def visible(self, query_places, key_places, num_heads):
        """bool `[n, m]`."""
        return ops.abs(query_places[:, None] - key_places[None, :]) < self.width

    def get_config(self):
        return {"width": self.width}


class Direction(Plugin):
    """Query i sees keys j <= i (`"left"`), j >= i (`"right"`), or one in each half of the heads (`"mixed"`).

    Mixed directions give an encoder the full-rank weights of a causal model (kexue.fm/archives/9529): heads of both
    directions in each layer, or layers of alternating direction where there is but one head.

    Args:
        side: `"left"`, `"right"` or `"mixed"` (the first H/2 heads left).
    """

    def __init__(self, side):
        if side not in ("left", "right", "mixed"):
            raise ValueError(f"Direction: side={side!r}; expected 'left', 'right' or 'mixed'")
        self.side = side

    def check(self, num_heads, key_dim):
        if self.side == "mixed" and num_heads % 2:
            raise ValueError(
                f"Direction('mixed') needs an even number of heads, got {num_heads}; with one head let the layers "
                "alternate between Direction('left') and Direction('right')"
            )

    def visible(self, query_places, key_places, num_heads):
        """bool `[n, m]`, for mixed heads `[H, n, m]`."""
        left = key_places[None, :] <= query_places[:, None]
        right = key_places[None, :] >= query_places[:, None]
        if self.side == "mixed":
            return ops.concatenate([ops.repeat(side[None], num_heads // 2, axis=0) for side in (left, right)], axis=0)
        return left if self.side == "left" else right

    def get_config(self):
        return {"side": self.side}
