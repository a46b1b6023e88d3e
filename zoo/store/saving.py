"""The write side: all files of a folder replaced at once; readers and crashes meet one version, whole.

A save has three steps.

1. *Prepare.* Every file of the new version is written to `.saving-<machine>-<process>-<number>/` inside the
   folder and flushed to the disk, the manifest with sizes and hashes last. Nobody looks there.
2. *Commit.* That directory is renamed to `.saved`. A rename is atomic, and it fails if a non-empty `.saved`
   exists.
3. *Move.* The files of `.saved` are renamed one by one to their plain names, and the empty `.saved` is
   removed.

A reader looks up each name in `.saved` first and in the folder second. Under this rule the current version
changes at the commit, all files at once, and at no other time: moving a file from `.saved` to the folder does
not change what a look-up finds, and a commit needs an empty or absent `.saved`, so it never mixes with a
version half moved. Hence

- a save killed before its commit leaves the earlier version, one killed later leaves the new one; the moves
  that are still due are made by the next save, whichever process makes it;
- processes that save to one folder at the same time need no lock, which some file systems only pretend to
  have: who finds a `.saved` in the way makes the remaining moves for its owner, which is harmless if both do,
  and tries again;
- a reader that sees the same manifest before and after it opened the files has them all from one version.

An earlier version's file that the new one lacks stays in the folder, outside the manifest and so unseen: to
remove it without a lock would race with another save that brings it back.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import pathlib
import platform
import re
import secrets
import time

from zoo.store.folder import Folder
from zoo.store.names import MANIFEST, SAVED, PresetError, check_name

_MACHINE = re.sub("[^A-Za-z0-9]", "", platform.node())[:32] or "local"
_RUN = secrets.token_hex(4)  # a process number may come again after a restart, in a container it does
_NUMBERS = itertools.count()
_PREPARED = re.compile(r"\.saving-(?P<machine>[A-Za-z0-9]+)-(?P<process>\d+)-(?P<run>[0-9a-f]{8})-\d+")
_ABANDONED = 24 * 3600.0  # seconds after which another machine's unfinished save counts as dead


def write_folder(path, files, anything=False):
    """Replace the files of a folder, all or none, and seal them with a manifest.

    Files under other names stay as they are.

    Args:
        path: str or path of a folder; made if there is none.
        files: mapping of file name to bytes, or to a function that writes to the binary file it is given.
        anything: bool, whether files may be replaced that zoo did not write.

    Raises:
        PresetError: a name that is not plain, or a folder, link or other oddity where a file should go; a file of such a
            name in a folder that zoo did not write.
        OSError: the disk is full, the folder is read-only or the like; the earlier version is intact.
    """
    path = pathlib.Path(path)
    for name in (*files, MANIFEST):
        check_name(name, f"{path}: file name")
    _refuse_folders(path, (*files, MANIFEST))
    if MANIFEST in files or not files:
        raise PresetError(
            f"{path}: got {sorted(files)}; expected at least one file, and {MANIFEST} is written by itself"
        )
    prepared = path / f".saving-{_MACHINE}-{os.getpid()}-{_RUN}-{next(_NUMBERS)}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        _move(path)
        if not anything:
            _refuse_files_of_others(path, (*files, MANIFEST))
        _sweep(path)
        prepared.mkdir()
        _prepare(prepared, files)
        _commit(prepared, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path}: not saved ({_size(files)}): {error.strerror or error}. The earlier version is intact",
        ) from error
    finally:
        _remove(prepared)
    _move(path)


def seal(path):
    """Write the manifest of a folder anew, after its files were edited on purpose.

    Args:
        path: str or path of a folder that has a manifest or lacks one; its plain files become the version.

    Raises:
        PresetError: no such folder, links in it, or a save that was not finished.
    """
    path = pathlib.Path(path)
    if (path / SAVED).exists():
        _move(path)
    (path / MANIFEST).unlink(missing_ok=True)
    folder = Folder(path)
    contents = {name: folder.memory_map(name) for name in folder.names()}
    write_folder(path, {name: _copier(content) for name, content in contents.items()}, anything=True)


def check_target(path, names):
    """Refuse a folder in which `write_folder` could not replace files of these names: before there is anything to write.

    Raises:
        PresetError: as `write_folder`; the path is that of a file.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_dir():
        raise PresetError(f"{path} is a file; expected the path of a folder to save to")
    _refuse_folders(path, (*names, MANIFEST))
    _refuse_files_of_others(path, (*names, MANIFEST))


def _refuse_folders(path, names):
    for name in names:
        if (path / name).is_dir():
            raise PresetError(f"{path / name} is a folder; a file of this name is to be saved")


def _refuse_files_of_others(path, names):
    """Refuse to replace files in a folder without a manifest of ours, whose README.md or config.json is the user's own."""
    # First the files: where another save has just moved them here, its manifest was there before and is found below.
    there = [name for name in names if os.path.lexists(path / name)]
    for place in (path / SAVED / MANIFEST, path / MANIFEST):
        with contextlib.suppress(OSError):
            if b'"zoo_manifest"' in place.read_bytes():
                return
    if there:
        raise PresetError(
            f"{path} holds {', '.join(there)}, and no {MANIFEST} says that zoo wrote them: saving here would replace them. "
            "Save to another folder, or move them away"
        )


def _copier(content):
    return lambda file: file.write(content)


def _prepare(prepared, files):
    seals = {}
    for name, content in files.items():
        seals[name] = _write(prepared / name, content)
    manifest = json.dumps({"zoo_manifest": 1, "files": seals}, indent=1, sort_keys=True)
    _write(prepared / MANIFEST, manifest.encode("ascii") + b"\n")
    _flush_folder(prepared)


def _commit(prepared, path):
    while True:
        try:
            os.rename(prepared, path / SAVED)
            return _flush_folder(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        _move(path)


def _move(path):
    """Move what a committed save has not moved yet; others may be moving the same files."""
    saved = path / SAVED
    if saved.is_symlink():
        raise PresetError(f"{saved} is a symbolic link; zoo never makes it one. Remove it")
    with contextlib.suppress(FileNotFoundError):
        # The manifest last, for programs that look for it in the folder alone.
        for name in sorted(os.listdir(saved), key=lambda name: (name == MANIFEST, name)):
            with contextlib.suppress(FileNotFoundError):
                os.replace(saved / name, path / name)
        try:
            os.rmdir(saved)
        except OSError as error:  # not empty: another save has been committed since
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise
        _flush_folder(path)


def _sweep(path):
    """Remove what saves that were killed before their commit have left."""
    for entry in os.scandir(path):
        found = _PREPARED.fullmatch(entry.name)
        if found and entry.is_dir(follow_symlinks=False) and _is_dead(found, entry):
            _remove(pathlib.Path(entry.path))


def _is_dead(found, entry):
    process = int(found["process"])
    if found["machine"] == _MACHINE and process == os.getpid():
        return found["run"] != _RUN
    if found["machine"] == _MACHINE and os.name == "posix":
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            pass
    with contextlib.suppress(OSError):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED
    return False


def _remove(prepared):
    """Remove a folder of plain files; what cannot be removed stays for the next save."""
    with contextlib.suppress(OSError):
        for name in os.listdir(prepared):
            os.unlink(prepared / name)
        os.rmdir(prepared)


def _write(path, content):
    """Write a file through to the disk. Returns its entry in the manifest."""
    with open(path, "xb") as file:
        target = _Hashed(file)
        content(target) if callable(content) else target.write(content)
        file.flush()
        os.fsync(file.fileno())
    return {"size": target.size, "sha256": target.sha256.hexdigest()}


class _Hashed:
    """A binary file that can only be written on, and hashes what is written."""

    def __init__(self, file):
        self._file, self.size, self.sha256 = file, 0, hashlib.sha256()

    def write(self, content):
        self._file.write(content)
        self.sha256.update(content)
        written = memoryview(content).nbytes
        self.size += written
        return written


def _flush_folder(path):
    """Bring renames in a folder to the disk, where the system can: Windows and some network disks cannot."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _size(files):
    known = sum(len(content) for content in files.values() if not callable(content))
    return f"{known} bytes" if not any(map(callable, files.values())) else f"more than {known} bytes"
