"""What `export` writes: the graph, the tokenizer, the description and the canaries of a model, compared before it is kept."""

import hashlib
import json
import pathlib
import tempfile
import warnings

import numpy as np

from zoo import runtime
from zoo.backend.variables import backbone_of
from zoo.data import Pairs, as_pairs, as_records
from zoo.export import canaries, extras, heads, openvino, sentence_transformers
from zoo.export.report import CANARIES, compare
from zoo.formats import zoo_preset
from zoo.formats.families import task_name
from zoo.metrics import accuracy, pair_metrics
from zoo.store import Folder, write_folder
from zoo.text.tokenizer import Tokenizer
from zoo.text.unigram import UnigramTokenizer
from zoo.text.wordpiece_fields import to_content

FORMATS = ("onnx", "sentence_transformers", "openvino", "tf_saved_model")
MODEL = "model.onnx"


def write(model, folder, format="onnx", quantize=None, dev_pairs=None):
    """See `zoo.tasks.text_task.TextTask.export`.

    Returns:
        dict, the report: largest_difference, limit, least_cosine, canaries, and the quality on `dev_pairs`.
    """
    if format not in FORMATS:
        raise ValueError(f"format={format!r}; expected one of {', '.join(FORMATS)}")
    if quantize not in (None, "int8"):
        raise ValueError(f"quantize={quantize!r}; expected None or 'int8'")
    task = _task(model)
    check_tokenizer(model, task)
    if format == "tf_saved_model":
        raise ValueError(
            "format='tf_saved_model' is not there for tasks, whose pooling and head Keras does not export; take format='onnx', "
            "or let Keras export the encoder, model.backbone.export(folder)"
        )
    whole = format == "sentence_transformers"
    if whole:
        sentence_transformers.check(model, task)
    graph = heads.build(model, task, with_hidden_state=whole)
    if quantize == "int8":
        graph = _int8(graph)
    files, inside, names, engine = tokenizer_files(model), [], [MODEL], "onnxruntime"
    if format == "openvino":
        files |= openvino.files(graph)
        names, engine = list(openvino.NAMES), "openvino"
    elif whole:
        more, inside = sentence_transformers.folders(model, graph)
        files, names = files | more, ["onnx/model.onnx"]
    else:
        files[MODEL] = graph.SerializeToString()
    description = describe(model, task, format, names, quantize, engine)
    return keep(model, task, folder, files, description, dev_pairs, inside)


def _task(model):
    """Name of the task that a graph knows, None for a backbone.

    Raises:
        ValueError: another model, by name.
    """
    if getattr(model, "is_backbone", False):
        return None
    name = task_name(type(model))
    if name not in heads.OUTPUTS or type(model).__name__ != name:
        inner = "; export model.tasks[name], one after the other" if name == "MultiTask" else ""
        raise ValueError(
            f"a {type(model).__name__} cannot be exported; known are backbones and {', '.join(heads.OUTPUTS)}{inner}"
        )
    return name


def check_tokenizer(model, task):
    """Refuse tokenizers that no tokenizer.json holds.

    Raises:
        ValueError: none; a keras-hub preprocessor; a function that cuts texts; added tokens that cannot be said.
    """
    tokenizer = model.tokenizer
    if tokenizer is None and task is None:
        return
    if type(tokenizer) not in (Tokenizer, UnigramTokenizer):
        raise ValueError(
            f"this {type(model).__name__} has {'no tokenizer' if tokenizer is None else f'a {type(tokenizer).__name__}'}; an "
            "export holds a zoo.Tokenizer or zoo.UnigramTokenizer"
        )
    if isinstance(tokenizer, UnigramTokenizer) and tokenizer.added_tokens:
        raise ValueError(
            "a UnigramTokenizer with added tokens cannot be exported yet; keep the model by save_to_preset"
        )


def tokenizer_files(model):
    """File name -> bytes of the tokenizer, {} without one."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        return {}
    if isinstance(tokenizer, UnigramTokenizer):
        return {runtime.TOKENIZER: tokenizer.vocabulary_text.encode()}
    return {runtime.TOKENIZER: _json(to_content(tokenizer), compact=True)}


def describe(model, task, format, files, quantize=None, engine="onnxruntime"):
    """What the folder says of the model, a dict; report and quality are to be filled in."""
    backbone, tokenizer = backbone_of(model), model.tokenizer
    return {
        "zoo_export": runtime.VERSION,
        "format": format,
        "engine": engine,
        "model": files,
        "task": task,
        "family": type(backbone).__name__,
        "pooling": getattr(model, "pooling", None),
        "max_length": getattr(model, "max_length", backbone.max_sequence_length),
        "segment_ids": getattr(model, "segment_ids", backbone.pair_segment_ids),
        "hidden_dim": backbone.hidden_dim,
        "num_classes": getattr(model, "num_classes", None),
        "output": heads.HIDDEN_STATE if task is None else heads.OUTPUTS[task][0],
        "decision": getattr(model, "decision", None),
        "class_names": getattr(model, "class_names", None),
        "tokenizer": None if tokenizer is None else tokenizer.get_config(),
        "quantize": quantize,
        "preset": preset_hashes(model),
        "report": None,
        "quality": None,
    }


def preset_hashes(model):
    """File name -> SHA-256 of what `save_to_preset` writes of the model, as its manifest has them; the card apart."""
    files = zoo_preset.to_files(model)
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items()) if name != "README.md"}


def keep(model, task, folder, files, description, dev_pairs, folders=()):
    """Write an export once it is found to compute what the model computes.

    Args:
        files: dict of name to bytes. folders: pairs of (name of a folder inside, its files).

    Returns:
        dict, see `write`.

    Raises:
        PresetError: it computes something else; nothing is written.
    """
    inputs, expected = _expected(model, task)
    content = {"inputs": inputs, "outputs": [array.tolist() for array in expected]}
    files = {**files, CANARIES: _json(content, compact=True), "README.md": _card(description).encode()}
    with tempfile.TemporaryDirectory() as place:
        _write(place, {**files, runtime.DESCRIPTION: _json(description)}, folders)
        exported = runtime.load(place)
        report = compare(exported, content, f"export of a {type(model).__name__}")
        if model.tokenizer is not None:
            _check_ids(model, Folder(place))
        quality = None if dev_pairs is None else _quality(model, exported, task, dev_pairs)
    description = {**description, "report": report, "quality": quality}
    _write(folder, {**files, runtime.DESCRIPTION: _json(description)}, folders)
    return report if quality is None else {**report, "quality": quality}


def _write(place, files, folders):
    """Folders inside first: what a reader looks for stands beside the description, which comes last."""
    for name, content in folders:
        write_folder(pathlib.Path(place, name), content)
    write_folder(place, files)


def _expected(model, task):
    """Inputs of the canaries, and the model's outputs for them, float32 arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task == "RepresentationMatcher":
            return list(canaries.TEXTS), [model.encode(list(canaries.TEXTS), verbose=0)]
        if task == "InteractionMatcher":
            return [list(pair) for pair in canaries.PAIRS], [model.score(list(canaries.PAIRS), verbose=0)]
        if task == "TextClassifier":
            texts, pairs = as_records(list(canaries.TEXTS)), as_pairs(list(canaries.PAIRS))
            outputs = [model.outputs_of(records, 64, 0) for records in (texts, pairs)]
            return [*canaries.TEXTS, *(list(pair) for pair in canaries.PAIRS)], outputs
    batches = canaries.token_arrays(model.vocabulary_size, model.num_segments, model.max_sequence_length)
    outputs = []
    for batch in batches:
        arrays = {name: np.asarray(array) for name, array in batch.items()}
        hidden = to_numpy_output(model(arrays, training=False))
        outputs.append(hidden * arrays["padding_mask"][..., None].astype("float32"))
    return batches, outputs


def to_numpy_output(tensor):
    """A tensor of the backend as a float32 array."""
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor), "float32")


def _check_ids(model, folder):
    """Refuse a tokenizer.json with which the `tokenizers` library gives other ids than the model's tokenizer."""
    import tokenizers

    theirs = tokenizers.Tokenizer.from_str(folder.text(runtime.TOKENIZER, cap=1 << 26))
    found = [one.ids for one in theirs.encode_batch(list(canaries.TEXTS))]
    for text, ids in zip(canaries.TEXTS, found):
        if ids != model.tokenizer.encode(text)[0]:
            raise ValueError(
                f"tokenizer.json gives other ids than the model's tokenizer for {text!r:.60}; please report it"
            )


def _quality(model, exported, task, dev_pairs):
    """Metrics of the model and of its export on labelled records: {"model": ..., "export": ..., "records": N}."""
    if task == "TextClassifier":
        records = as_records(dev_pairs)
        second = records.text_b if isinstance(records, Pairs) else None
        rows = records.columns[0] if second is None else list(zip(*records.columns))
        pairs = {"model": model.outputs_of(records, 64, 0), "export": exported.logits(rows)}
        found = {name: {"accuracy": accuracy(records.labels, logits.argmax(axis=-1))} for name, logits in pairs.items()}
    elif task is None:
        raise ValueError("dev_pairs are for matchers and classifiers; a backbone gives hidden states alone")
    else:
        records = as_pairs(dev_pairs, labelled=True)
        scores = {"model": model.score(records, verbose=0), "export": exported.score(records)}
        found = {name: pair_metrics(records.labels, one, model.decision) for name, one in scores.items()}
    return {**found, "records": len(records), "sha256": records.sha256}


def _int8(graph):
    """Weights of products as int8 with a factor for each column, inputs by factors found while it runs.

    Never one factor for a whole matrix: MiniLM loses a tenth of its cosines to that.
    """
    quantization = extras.quantization()
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place, MODEL)
        with _quiet_log():
            quantization.quantize_dynamic(graph, path, per_channel=True, weight_type=quantization.QuantType.QInt8)
        return extras.onnx().load_from_string(Folder(place).memory_map(MODEL).tobytes())


def _quiet_log():
    """Without the library's advice to prepare the graph beforehand, which changes nothing here."""
    import contextlib
    import logging

    @contextlib.contextmanager
    def quiet():
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)

    return quiet()


def _json(content, compact=False):
    options = {"separators": (",", ":")} if compact else {"indent": 2}
    return json.dumps(content, ensure_ascii=False, **options).encode() + b"\n"


def _card(description):
    """README.md of the folder."""
    kind = description["task"] or description["family"]
    return f"""# Export of a {kind}

A {description["family"]}, written by zoo in the format `{description["format"]}`\
{f", quantized to {description['quantize']}" if description["quantize"] else ""}.

    import zoo.runtime
    model = zoo.runtime.load("this folder")   # NumPy, tokenizers and {description["engine"]}; no Keras

`zoo.export.verify("this folder")` computes the stored canaries again and compares. Inputs of {description["model"][0]}:
`input_ids`, `attention_mask` and perhaps `token_type_ids`, int64 `[batch, length]`, from tokenizer.json; output:
`{description["output"]}`, float32.
"""
