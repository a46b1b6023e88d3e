"""What the interpreter does while a hostile file is read, by its own audit events; and what lies around before and after."""

import contextlib
import os
import sys

# Running something, or asking the network.
ACTIONS = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pickle.find_class"),
    *("shutil.unpack_archive", "socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"),
)
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_active = []


def _hook(event, arguments):
    if _active and (event == "open" or event in ACTIONS or event in CHANGES):
        _active[-1].append((event, arguments))


sys.addaudithook(_hook)


class Seen:
    def __init__(self, events):
        self._events = events

    @property
    def actions(self):
        return [event for event in self._events if event[0] in ACTIONS]

    @property
    def opened(self):
        """Absolute paths of all files opened, for reading or writing."""
        paths = [arguments[0] for event, arguments in self._events if event == "open"]
        return [os.path.abspath(os.fsdecode(path)) for path in paths if not isinstance(path, int)]

    @property
    def written(self):
        """What was opened for writing, and every other change of files."""
        flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        found = [arguments for event, arguments in self._events if event == "open" and (arguments[2] or 0) & flags]
        return found + [event for event in self._events if event[0] in CHANGES]


@contextlib.contextmanager
def watched():
    """Audit events of what runs inside, as `Seen`."""
    _active.append([])
    try:
        yield Seen(_active[-1])
    finally:
        _active.pop()


def contents(folder):
    """Every name below a folder with its content, or with the target of a link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[path.relative_to(folder).as_posix()] = state
    return found
