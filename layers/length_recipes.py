"""Models whose layers see different ranges: values of a backbone's `layer_attention` (kexue.fm/archives/9603, 9731).

For language models: give the backbone `attention_mask="causal"` and rotary positions.
"""

from zoo.layers.attention_options import AttentionOptions
from zoo.layers.masks import Window
from zoo.layers.rerope import ReRoPE
from zoo.layers.score_normalizers import SoftmaxPlus


def hwfa(num_layers, train_length, window=None):
    """HWFA, hybrid window-full attention: windows in all layers but the last, which sees all without positions.

    The windows have the backbone's positions and a plain softmax, the last layer no positions and the log-n scale of
    `SoftmaxPlus` with the training length as its base. A token of the last layer then looks at features that were made
    from at most (window − 1)(L − 1) + 1 tokens, and no distance is new to the model, however long the input.

    Args:
        num_layers: int, L > 1.
        train_length: int, N, tokens in training.
        window: int or None; None takes the widest with (window − 1)(L − 1) + 1 <= 3/4 N. The post has 16 of 17
            possible for L = 24, N = 512.

    Returns:
        list of L `AttentionOptions`.

    Raises:
        ValueError: the window is too wide, or there is none.
    """
    widest = _widest(num_layers, train_length)
    if window is None:
        window = widest
    if not 2 <= window <= widest:
        raise ValueError(
            f"hwfa: window={window} in {num_layers - 1} layers reaches {(window - 1) * (num_layers - 1) + 1} tokens; "
            f"expected at least 2 and at most {widest}, three quarters of the training length {train_length}"
        )
    narrow = AttentionOptions(visibility=Window(window), normalization="softmax")
    full = AttentionOptions(position=None, normalization=SoftmaxPlus(base=train_length))
    return [narrow] * (num_layers - 1) + [full]


def hwfa2(num_layers, train_length, window=None, full_layers=2, rerope=None):
    """HWFA2: a few layers, spread evenly, see all with rotary positions, the others a window.

    Train with `rerope=None`; read longer inputs with the same weights and `rerope=train_length // 2` (or less), which
    turns the full layers' positions into `ReRoPE`.

    Args:
        num_layers: int, L. train_length: int, N.
        window: int or None; None means 3 N / L, the middle of the recommended 2 to 4.
        full_layers: int or list of int, how many layers see all, or which (numbers from 0).
        rerope: None or int, window of ReRoPE in the full layers, below N.

    Returns:
        list of L `AttentionOptions`.

    Raises:
        ValueError: layers or windows that do not fit.
    """
    if isinstance(full_layers, int):
        if not 1 <= full_layers <= num_layers:
            raise ValueError(f"hwfa2: full_layers={full_layers}; expected 1 to {num_layers}, the number of layers")
        full_layers = [(i + 1) * num_layers // full_layers - 1 for i in range(full_layers)]
    if not set(full_layers) <= set(range(num_layers)):
        raise ValueError(f"hwfa2: full_layers={full_layers}; expected numbers from 0 to {num_layers - 1}")
    if window is None:
        window = max(2, 3 * train_length // num_layers)
    if not 2 <= window < train_length:
        raise ValueError(f"hwfa2: window={window}; expected at least 2 and below the training length {train_length}")
    if rerope is not None and not 0 < rerope < train_length:
        raise ValueError(f"hwfa2: rerope={rerope}; expected a window below the training length {train_length}")
    narrow = AttentionOptions(visibility=Window(window), normalization="softmax")
    position = {} if rerope is None else {"position": ReRoPE(rerope, causal=True)}
    full = AttentionOptions(normalization=SoftmaxPlus(base=train_length), **position)
    return [full if index in full_layers else narrow for index in range(num_layers)]


def _widest(num_layers, train_length):
    """Largest window w with (w − 1)(L − 1) + 1 <= 3/4 N."""
    if num_layers < 2:
        raise ValueError(f"hwfa: num_layers={num_layers}; expected at least 2, windows below one full layer")
    return int((0.75 * train_length - 1) // (num_layers - 1)) + 1
