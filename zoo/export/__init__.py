"""Trained models for other programs: ONNX, OpenVINO, folders of sentence-transformers. Extra `onnx`.

`model.export(folder, format=...)` writes them; `zoo.runtime.load(folder)` uses them without Keras; `verify(folder)` tries
again, anywhere, whether they compute what the model computed.
"""

from zoo.export.report import verify as verify


def export(model, folder, format="onnx", **options):
    """See `zoo.tasks.text_task.TextTask.export`."""
    from zoo.export.formats import write  # Keras comes with it

    return write(model, folder, format, **options)
