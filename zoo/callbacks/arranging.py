"""The order in which callbacks are called, and what they are told that Keras does not tell them."""

from zoo.callbacks.resume import Resume


def arranged(callbacks, data=None):
    """Callbacks as `keras.Model.fit` takes them: a `Resume` around all others, the data known to those that ask.

    Args:
        callbacks: None, a callback, or a list of them.
        data: what `fit` trains on, for callbacks whose attribute `data` is None.

    Returns:
        list of callbacks.
    """
    callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    for callback in callbacks:
        if getattr(callback, "data", data) is None:
            callback.data = data
    around = [callback for callback in callbacks if isinstance(callback, Resume)]
    if len(around) > 1:
        folders = ", ".join(str(resume.folder) for resume in around)
        raise ValueError(f"{len(around)} Resume callbacks, of {folders}; a training has one state: expected one")
    for resume in around:
        resume.callbacks += [callback for callback in callbacks if callback not in (resume, *resume.callbacks)]
    return around or callbacks
