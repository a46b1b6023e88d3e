"""The order in which callbacks are called, and what they are told that Keras does not tell them."""

from zoo.callbacks.resume import Resume


def arranged(callbacks, data=None):
    """Callbacks as `keras.Model.fit` takes them: a `Resume` around all others, the data known to those that ask.

    What belongs to one training is set anew for the next, so the same objects serve any number of them.

    Args:
        callbacks: None, a callback, or a list of them.
        data: what `fit` trains on, for callbacks that have an attribute `data` and were given None there.

    Returns:
        list of callbacks.

    Raises:
        ValueError: more than one `Resume`.
    """
    callbacks = listed(callbacks)
    for callback in callbacks:
        if hasattr(callback, "data") and (callback.data is None or getattr(callback, "data_of_fit", False)):
            callback.data, callback.data_of_fit = data, True
    around = [callback for callback in callbacks if isinstance(callback, Resume)]
    if len(around) > 1:
        folders = ", ".join(str(resume.folder) for resume in around)
        raise ValueError(f"{len(around)} Resume callbacks, of {folders}; a training has one state: expected one")
    for resume in around:
        resume.callbacks = [*resume.own, *(callback for callback in callbacks if callback not in (resume, *resume.own))]
    return around or callbacks


def listed(callbacks):
    """None, a callback or a sequence of them as a list."""
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
