"""The read side: files of one folder by bare name, checked before they are opened, mapped and not copied."""

import hashlib
import io
import itertools
import mmap
import os
import pathlib
import re
import stat

import numpy as np

from zoo.store import strict_json
from zoo.store.names import MANIFEST, SAVED, PresetError, check_name, is_plain
from zoo.store.safetensors import SafeTensors

JSON_CAP = 1 << 20
TEXT_CAP = 16 << 20
_MOST_FILES = 256
_MOST_ATTEMPTS = 1000  # each repeats only because another process finished a save meanwhile
_OPEN_FLAGS = os.O_RDONLY | sum(
    getattr(os, flag, 0)  # O_NONBLOCK: a named pipe must not hang
    for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)
_SHA256 = re.compile("[0-9a-f]{64}")
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Folder:
    """One version of a preset or checkpoint folder.

    A folder with our manifest is sealed: its files are those of the manifest, all of one save even while
    another process saves again, and each is compared with its SHA-256 when it is first read. In any other
    folder every file with a plain name is readable, and nothing is known about its integrity.

    Args:
        path: str or path, named by the user; links on the way to it are followed.
        links: bool. Whether files may be symbolic or hard links, as in the cache of Hugging Face or in a
            package that was installed by hard links. Only for folders whose maker the user chose, not for
            what a stranger packed.

    Attributes:
        sealed: bool, whether there is a manifest.

    Raises:
        PresetError: no such folder, or a sealed folder lacks a file.
    """

    def __init__(self, path, links=False):
        self.path = pathlib.Path(path)
        self._links = links
        self._maps = {}
        self._seals = None
        self._unchecked = set()
        if not os.path.isdir(self.path):
            found = "is a file, a folder is expected" if os.path.exists(self.path) else "no such folder"
            raise PresetError(f"{self.path}: {found}")
        if not links and os.path.islink(self.path / SAVED):
            raise PresetError(f"{self.path / SAVED} is a symbolic link; zoo never makes it one")
        self._take_snapshot()

    def __str__(self):
        return str(self.path)

    @property
    def sealed(self):
        return self._seals is not None

    def has(self, name):
        """Whether the folder has this file; in a sealed folder, whether the manifest has it."""
        check_name(name, f"{self.path}: file name")
        if self.sealed:
            return name in self._seals
        return any(os.path.lexists(place) for place in self._places(name))

    def names(self):
        """Sorted names of the readable files; in a sealed folder those of the manifest."""
        if self.sealed:
            return sorted(self._seals)
        return sorted(entry.name for entry in os.scandir(self.path) if is_plain(entry.name) and entry.is_file())

    def memory_map(self, name):
        """`uint8 [n]`, read-only: a file of any size; the system reads bytes when they are looked at."""
        check_name(name, f"{self.path}: file name")
        if self.sealed and name not in self._seals:
            raise PresetError(f"{self.path}: {MANIFEST} has no file {name}; it has {', '.join(self.names())}")
        if name not in self._maps:
            self._maps[name] = self._map(name)
            if self._maps[name] is None:
                raise PresetError(f"{self.path}: the file {name} is missing")
        if self.sealed:
            self._check_seal(name)
        return _array(self._maps[name])

    def bytes(self, name, cap=TEXT_CAP):
        """The content of a file, refused before it is read if it has more than `cap` bytes."""
        content = self.memory_map(name)
        if len(content) > cap:
            raise PresetError(f"{self.path / name} has {len(content)} bytes; zoo reads at most {cap} of such a file")
        return content.tobytes()

    def text(self, name, cap=TEXT_CAP):
        """The content of a UTF-8 file, without a byte order mark."""
        try:
            return self.bytes(name, cap).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PresetError(f"{self.path / name}: not UTF-8 text (byte {error.start})") from None

    def json(self, name, cap=JSON_CAP):
        """The object in a JSON file; see `zoo.store.strict_json`."""
        return strict_json.parse(self.bytes(name, cap), str(self.path / name))

    def open(self, name):
        """A read-only, seekable binary file, for libraries that want one."""
        return io.BufferedReader(_MapFile(self.memory_map(name)))

    def safetensors(self, name):
        """Tensors of a safetensors file by name, as read-only views of its memory map, with `.metadata`."""
        return SafeTensors(self.memory_map(name), str(self.path / name))

    def subfolder(self, name):
        """A folder in this one as a `Folder`, or None if there is none."""
        path = self.path / check_name(name, f"{self.path}: folder name")
        if path.is_symlink() and not self._links:
            raise PresetError(f"{path} is a symbolic link; expected a folder")
        return Folder(path, self._links) if path.is_dir() else None

    def verify(self):
        """Compare every file with the manifest.

        Returns:
            bool: True if all are as they were saved, False if there is no manifest to compare with.

        Raises:
            PresetError: a file is not what was saved.
        """
        for name in self._seals or ():
            self.memory_map(name)
        return self.sealed

    def _take_snapshot(self):
        """Map the manifest and all its files so that they are of one save.

        While a version is current, looking up one of its files finds that very file; see saving.py. So if the
        manifest is the same file before and after the others were looked up, they are all of its version. The
        map keeps the manifest's file alive, so its number cannot pass to a newer one.
        """
        for _ in range(_MOST_ATTEMPTS):
            manifest = self._map(MANIFEST)
            if manifest is None:
                return
            seals = _seals(_array(manifest), self.path / MANIFEST)
            if seals is None:
                return
            maps = {name: self._map(name) for name in seals}
            latest = self._map(MANIFEST)
            if latest is not None and latest.identity == manifest.identity:
                if missing := [name for name in maps if maps[name] is None]:
                    raise PresetError(f"{self.path}: {', '.join(missing)} missing, though {MANIFEST} lists it")
                self._seals, self._maps = seals, maps
                # People may edit the card, which no program reads.
                self._unchecked = {name for name in seals if not name.endswith(".md")}
                return
        raise PresetError(f"{self.path}: other processes save here without a pause; there was no moment to read it")

    def _check_seal(self, name):
        if name not in self._unchecked:
            return
        size, expected = self._seals[name]
        content = _array(self._maps[name])
        if len(content) != size:
            raise PresetError(
                f"{self.path / name}: has {len(content)} bytes, {MANIFEST} says {size}. Is the copy complete?"
            )
        if (got := hashlib.sha256(content).hexdigest()) != expected:
            raise PresetError(
                f"{self.path / name}: damaged or edited: its SHA-256 is {got[:12]}..., {MANIFEST} says "
                f"{expected[:12]}... Get the file again; if you edited it yourself, call zoo.store.seal(folder)"
            )
        self._unchecked.discard(name)

    def _places(self, name):
        return self.path / SAVED / name, self.path / name

    def _map(self, name):
        """The file mapped into memory, or None if there is none."""
        for place in self._places(name):
            try:
                return _Map(place, self._links)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise PresetError(f"{place}: cannot be read: {error.strerror or error}") from error
        return None


class _Map:
    """A file in memory, once it is found to be a plain file; the open file lives as long as this."""

    def __init__(self, path, links):
        _check_kind(os.stat(path) if links else os.lstat(path), path, links)
        handle = os.open(path, _OPEN_FLAGS & ~getattr(os, "O_NOFOLLOW", 0) if links else _OPEN_FLAGS)
        try:
            state = os.fstat(handle)
            _check_kind(state, path, links)
            self.identity = state.st_dev, state.st_ino
            self.content = mmap.mmap(handle, state.st_size, access=mmap.ACCESS_READ) if state.st_size else b""
        finally:
            os.close(handle)


def _array(mapped):
    return np.frombuffer(mapped.content, dtype=np.uint8)


def _check_kind(state, path, links):
    if not stat.S_ISREG(state.st_mode):
        kind = _KINDS.get(stat.S_IFMT(state.st_mode), "no file")
        raise PresetError(
            f"{path} is {kind}; expected a plain file. "
            + (_hub_address(path) or "If it is a link of your own (DVC, git-annex), copy what it points to: cp -rL")
        )
    if state.st_nlink > 1 and not links:
        raise PresetError(
            f"{path} has {state.st_nlink} names (hard links), so it may be a file from elsewhere. "
            + (_hub_address(path) or "If it is your own, make a plain copy of the folder: cp -r")
        )


def _hub_address(path):
    """What to write in place of a path into the cache of Hugging Face's hub, whose files are links; "" elsewhere."""
    for part, following in itertools.pairwise(pathlib.Path(os.path.abspath(path)).parts):
        if following == "snapshots" and (found := re.fullmatch(r"models--(.+?)--(.+)", part)):
            return f'This is the cache of Hugging Face\'s hub: write from_preset("hf://{found[1]}/{found[2]}")'
    return ""


def _seals(content, path):
    """File name -> (size, SHA-256) of a manifest, or None if the manifest is that of another program."""
    if len(content) > JSON_CAP:
        raise PresetError(f"{path} has {len(content)} bytes; zoo reads at most {JSON_CAP} of such a file")
    manifest = strict_json.parse(content, path)
    if "zoo_manifest" not in manifest:
        return None
    if manifest["zoo_manifest"] != 1:
        raise PresetError(f"{path}: zoo_manifest is {str(manifest['zoo_manifest'])[:40]}, this zoo reads 1: update zoo")
    files = manifest.get("files")
    if not isinstance(files, dict) or not 1 <= len(files) <= _MOST_FILES:
        raise PresetError(f"{path}: files must be an object with 1 to {_MOST_FILES} entries")
    for name, seal in files.items():
        check_name(name, f"{path}: file name")
        if not isinstance(seal, dict) or set(seal) != {"size", "sha256"}:
            raise PresetError(f"{path}: {name} must have size and sha256 and nothing else")
        if type(seal["size"]) is not int or not _SHA256.fullmatch(str(seal["sha256"])):
            raise PresetError(f"{path}: {name}: size must be a whole number, sha256 64 digits 0-9 a-f")
    return {name: (seal["size"], seal["sha256"]) for name, seal in files.items()}


class _MapFile(io.RawIOBase):
    """The bytes of an array as a file."""

    def __init__(self, content):
        super().__init__()
        self._content, self._position = content, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._position

    def seek(self, offset, whence=os.SEEK_SET):
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._content)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, target):
        content = self._content[self._position : self._position + len(target)]
        target[: len(content)] = content.data
        self._position += len(content)
        return len(content)
