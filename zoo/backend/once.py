"""What an object makes when it is first needed, however many threads ask at once."""

import threading

_MAKING = threading.RLock()  # of the process: an object that holds a lock could not be copied


def made_once(owner, name, make):
    """The attribute of an object, made by the first thread that asks for it.

    Args:
        owner: object with a `__dict__`; Keras does not track the attribute. name: str. make: function of nothing.
    """
    if name not in vars(owner):
        with _MAKING:
            if name not in vars(owner):
                vars(owner)[name] = make()
    return vars(owner)[name]
