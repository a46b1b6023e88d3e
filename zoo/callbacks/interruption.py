"""Ctrl-C during training: noted at once, granted after the running step."""

import signal
import threading


class Interruption:
    """Turns the first Ctrl-C into a wish, so that a state can be saved between two steps; the second works at once.

    Nothing is changed outside of the main thread, or where the program has a handler of its own.

    Attributes:
        asked: bool, whether Ctrl-C was pressed.
    """

    def __init__(self):
        self.asked, self._model, self._listening = False, None, False

    def listen(self, model):
        """From now on note Ctrl-C, while the `fit` of this model runs."""
        self.asked, self._model = False, model
        if threading.current_thread() is threading.main_thread():
            now = signal.getsignal(signal.SIGINT)
            left_behind = isinstance(getattr(now, "__self__", None), Interruption)  # by a `fit` that an error ended
            if now is signal.default_int_handler or left_behind:
                signal.signal(signal.SIGINT, self._heard)
                self._listening = True

    def stop(self):
        """Let Ctrl-C do again what it did."""
        if self._listening:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._listening = False

    def _heard(self, number, frame):
        self.stop()
        if not _fits(self._model, frame):  # an error ended `fit` before it could say so
            signal.default_int_handler(number, frame)
        self.asked = True


def _fits(model, frame):
    while frame is not None:
        if frame.f_code.co_name == "fit" and frame.f_locals.get("self") is model:
            return True
        frame = frame.f_back
    return False
