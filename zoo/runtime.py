"""Exported matchers and classifiers without Keras: NumPy, `tokenizers` and onnxruntime alone (extra `onnx`).

    matcher.export("folder")                    # where Keras is: see zoo.export
    matcher = zoo.runtime.load("folder")        # where it is not
    matcher.encode(["怎么改密码"]), matcher.score([("怎么改密码", "忘记密码怎么办")])

What they are given, and what they refuse, is as in `zoo.RepresentationMatcher`, `zoo.InteractionMatcher` and
`zoo.TextClassifier`. They may be used from several threads at a time.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.data.batching import PredictionPlan
from zoo.data.records import Pairs, as_pairs, as_records, as_texts
from zoo.metrics.threshold import check_decision
from zoo.store import Folder, PresetError
from zoo.text.token_rows import TokenRows
from zoo.text.tokenizer import Tokenizer
from zoo.text.unigram import UnigramTokenizer

DESCRIPTION, TOKENIZER = "zoo_export.json", "tokenizer.json"
VERSION = 1  # of the description
_TOKENIZER_CAP = 32 << 20
_KEYS = set(
    "zoo_export format engine model task family pooling max_length segment_ids hidden_dim num_classes output "
    "decision class_names tokenizer quantize preset report quality".split()
)


def load(folder: str | os.PathLike, threads: int | None = None, dtype: str = "float32") -> Any:
    """The model in a folder that `export` wrote.

    Args:
        folder: path.
        threads: int or None, threads that one batch is computed with; None: one for each core.
        dtype: `"float32"`, or `"bfloat16"` for a folder of `format="openvino"`.

    Returns:
        `RepresentationRuntime`, `InteractionRuntime`, `ClassifierRuntime`, or `Encoder` of a backbone.

    Raises:
        PresetError: no such folder, a file that is not as it was written, or a newer format.
        ImportError: onnxruntime (or openvino, for a folder of that format) is missing.
    """
    files = Folder(folder)
    if not files.has(DESCRIPTION):
        raise PresetError(
            f"{files.path} has no {DESCRIPTION}: expected a folder written by matcher.export(folder); a preset is loaded by "
            "from_preset, with Keras"
        )
    if not files.sealed:
        raise PresetError(f"{files.path}: manifest.json is missing, so nothing says that the export is whole")
    description = files.json(DESCRIPTION)
    if description.get("zoo_export") != VERSION:
        raise PresetError(
            f"{files.path}/{DESCRIPTION}: zoo_export is {description.get('zoo_export')!r:.40}, this zoo reads {VERSION}"
        )
    task, engine = description.get("task"), description.get("engine")
    if set(description) != _KEYS or task not in _TASKS or engine not in _ENGINES:
        raise PresetError(
            f"{files.path}/{DESCRIPTION}: unknown or missing fields, or task {task!r:.60} or engine {engine!r:.60} unknown"
        )
    if dtype not in _DTYPES:
        raise ValueError(f"dtype={dtype!r}; expected one of {', '.join(_DTYPES)}")
    return _TASKS[description["task"]](files, description, threads, dtype)


class Runtime:
    """An exported model.

    Attributes:
        description: dict, what the folder says: task, family, preset (sha256 of the files that save_to_preset writes),
            report and quality of the export, quantize, ...
        tokenizer: `zoo.Tokenizer` or `zoo.UnigramTokenizer`, None for a backbone without one.
        max_length: int, tokens a row is cut to.
    """

    def __init__(self, files, description, threads, dtype):
        self.description, self.path = description, str(files.path)
        self.max_length, self.segment_ids = description["max_length"], description["segment_ids"]
        self.hidden_dim, self.class_names = description["hidden_dim"], description["class_names"]
        self.decision = check_decision(description["decision"])
        self.tokenizer = _tokenizer(files, description["tokenizer"])
        self._engine: Any = _ENGINES[description["engine"]](files, description["model"], threads, dtype)
        self._told_of_cut = False

    def compute(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The model's output for arrays of one batch: token_ids, padding_mask and maybe segment_ids, `[B, n]`."""
        feeds = {"input_ids": inputs["token_ids"], "attention_mask": inputs["padding_mask"]}
        if "token_type_ids" in self._engine.inputs:
            segments = inputs.get("segment_ids")
            feeds["token_type_ids"] = np.zeros_like(inputs["token_ids"]) if segments is None else segments
        feeds = {name: np.asarray(array).astype("int64") for name, array in feeds.items()}
        return self._engine(feeds, self.description["output"])

    def run(self, texts: list, text_pairs: list | None, batch_size: int) -> np.ndarray:
        """Outputs float32 `[N, ...]` of texts or packed pairs, in their order, from batches sorted by length.

        Raises:
            ValueError: an output is NaN or infinite.
        """
        tokens = TokenRows(self.tokenizer, texts, text_pairs, self.max_length, self.segment_ids)
        self._tell_of_cut(tokens)
        plan = PredictionPlan(tokens.lengths, batch_size, None)
        outputs = plan.restore([self.compute(tokens.batch(batch.indices, batch.length)) for batch in plan])
        wrong = np.flatnonzero(~np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1))
        if len(wrong):
            raise ValueError(
                f"the output for texts[{wrong[0]}] is NaN or infinite, as {len(wrong):,} of {len(outputs):,} are"
            )
        return outputs

    def _tell_of_cut(self, tokens):
        if tokens.cut.any() and not self._told_of_cut:
            self._told_of_cut = True
            warnings.warn(
                f"{tokens.cut.sum():,} of {len(tokens):,} records have more than max_length={self.max_length} tokens, the "
                f"longest {tokens.longest:,}, and lose their ends (told once)",
                stacklevel=4,
            )

    def __repr__(self):
        said = {name: self.description[name] for name in ("family", "pooling", "quantize", "engine")}
        return f"<{type(self).__name__} of {self.path}: {', '.join(f'{k} {v}' for k, v in said.items() if v)}>"


class _Matcher(Runtime):
    """What follows from `score`."""

    score: Callable  # of the matcher

    def classify(self, pairs: Sequence, batch_size: int = 64) -> np.ndarray:
        """Decisions int64 `[N]`: 1 where score >= threshold.

        Raises:
            ValueError: the matcher had no threshold when it was exported.
        """
        if self.decision is None:
            raise ValueError("no threshold yet: call fit_threshold(labelled_pairs) before the export")
        return (np.asarray(self.score(pairs, batch_size), "float64") >= self.decision["threshold"]).astype("int64")


class RepresentationRuntime(_Matcher):
    """See `zoo.RepresentationMatcher`; vectors have length 1."""

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Sentence embeddings float32 `[N, d]` of length 1, in the order of the texts; every distinct one is computed once.

        Raises:
            TypeError, ValueError: see `zoo.data.as_texts`; the message names the index of a text that is no str.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts; for one text: encode([text])[0]")
        return self._vectors(as_texts(texts, labelled=False).text, batch_size)

    def _vectors(self, texts, batch_size):
        if not texts:
            return np.zeros((0, self.hidden_dim), "float32")
        unique = list(dict.fromkeys(texts))
        vectors = self.run(unique, None, batch_size)
        place = {text: row for row, text in enumerate(unique)}
        return vectors[[place[text] for text in texts]]

    def score(self, pairs: Sequence, batch_size: int = 64) -> np.ndarray:
        """Cosines float32 `[N]` of pairs `(text_a, text_b)`, in their order."""
        pairs = as_pairs(pairs)
        vectors = self._vectors(pairs.text_a + pairs.text_b, batch_size)
        return np.clip(np.einsum("nd,nd->n", vectors[: len(pairs)], vectors[len(pairs) :]), -1.0, 1.0)


class InteractionRuntime(_Matcher):
    """See `zoo.InteractionMatcher`."""

    def score(self, pairs: Sequence, batch_size: int = 64) -> np.ndarray:
        """Scores float32 `[N]` of pairs `(text_a, text_b)`, in their order; unbounded."""
        pairs = as_pairs(pairs)
        return self.run(pairs.text_a, pairs.text_b, batch_size) if len(pairs) else np.zeros(0, "float32")


class ClassifierRuntime(Runtime):
    """See `zoo.TextClassifier`."""

    def logits(self, records: Sequence, batch_size: int = 64) -> np.ndarray:
        """float32 `[N, C]` of texts or pairs."""
        records = as_records(records)
        if not len(records):
            return np.zeros((0, self.description["num_classes"]), "float32")
        second = records.text_b if isinstance(records, Pairs) else None
        return self.run(records.columns[0], second, batch_size)

    def predict(self, records: Sequence, batch_size: int = 64) -> np.ndarray:
        """Probabilities float32 `[N, C]` of texts or pairs."""
        logits = self.logits(records, batch_size).astype("float64")
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
        return (odds / odds.sum(axis=-1, keepdims=True)).astype("float32")

    def classify(self, records: Sequence, batch_size: int = 64) -> np.ndarray | list[str]:
        """The likeliest class of each record: its name where the classes have names, else int64."""
        best = self.logits(records, batch_size).argmax(axis=-1)
        return best if self.class_names is None else [self.class_names[index] for index in best]


class Encoder(Runtime):
    """A backbone: `compute` gives hidden states float32 `[B, n, d]`."""


_TASKS = {
    "RepresentationMatcher": RepresentationRuntime,
    "InteractionMatcher": InteractionRuntime,
    "TextClassifier": ClassifierRuntime,
    None: Encoder,
}


# What computes


class _OnnxRuntime:
    def __init__(self, files, names, threads, dtype):
        if dtype != "float32":
            raise ValueError(f"dtype={dtype!r}: onnxruntime computes as the file says; format='openvino' has bfloat16")
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("zoo.runtime needs onnxruntime: pip install 'keras-zoo[onnx]'") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        (content,) = (_content(files, name) for name in names)
        self._session = onnxruntime.InferenceSession(content.tobytes(), options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self._session.get_inputs()]

    def __call__(self, feeds, output):
        return self._session.run([output], feeds)[0]


class _OpenVINO:
    def __init__(self, files, names, threads, dtype):
        try:
            import openvino
        except ImportError as error:
            raise ImportError("this folder needs openvino: pip install 'keras-zoo[openvino]'") from error
        core = openvino.Core()
        graph, weights = (_content(files, name).tobytes() for name in names)
        # said in any case: by itself it takes bfloat16 where the processor has it
        options = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype]}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        self._model = core.compile_model(core.read_model(graph, weights), "CPU", options)
        self.inputs = [value.any_name for value in self._model.inputs]

    def __call__(self, feeds, output):
        # a request of its own for each call: one of them is not for several threads
        return np.array(self._model.create_infer_request().infer(feeds)[self._model.output(output)])


_ENGINES = {"onnxruntime": _OnnxRuntime, "openvino": _OpenVINO}
_DTYPES = ("float32", "bfloat16")


def _content(files, name):
    """The bytes of a file of the model, uint8 `[n]`; of "onnx/model.onnx" the one in the folder onnx."""
    *folders, name = name.split("/")
    for part in folders:
        inner = files.subfolder(part)
        if inner is None:
            raise PresetError(f"{files.path}: the folder {part} is missing")
        files = inner
    return files.memory_map(name)


def _tokenizer(files, options):
    """The tokenizer, from the options in the description and the pieces in tokenizer.json."""
    if options is None:
        return None
    content = files.json(TOKENIZER, cap=_TOKENIZER_CAP)
    try:
        if options.get("class") == UnigramTokenizer.__name__:
            return UnigramTokenizer.from_config(options, content)
        places = {index: token for token, index in content["model"]["vocab"].items()}
        places |= {entry["id"]: entry["content"] for entry in content["added_tokens"]}
        # the file has no place for the first of tokens that repeat, whom no text reaches
        tokens = [places.get(index, f"[repeated{index}]") for index in range(max(places) + 1)]
        return Tokenizer.from_config(options, tokens)
    except (KeyError, TypeError, ValueError) as error:
        raise PresetError(f"{files.path}/{TOKENIZER}: {error}") from error
