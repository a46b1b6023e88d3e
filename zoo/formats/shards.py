"""The index of weights that are cut into several files: which tensor, or group of tensors, lies in which."""

from zoo.store import PresetError


def read(folder, index, pattern, example):
    """Name of a tensor or group -> list of names of files, of an index beside its files.

    Args:
        folder: `zoo.store.Folder`.
        index: str, name of the JSON file with a `weight_map`.
        pattern: compiled regular expression that a file's whole name matches.
        example: str, such a name, for the error.

    Raises:
        PresetError: no map, an empty one, or one that names other files.
    """
    where, source = folder.json(index).get("weight_map"), f"{folder.path}/{index}"
    if not isinstance(where, dict) or not where:
        raise PresetError(f"{source}: weight_map must be an object of names to file names")
    where = {name: files if isinstance(files, list) else [files] for name, files in where.items()}
    for name, files in where.items():
        for file in files:
            if not isinstance(file, str) or not pattern.fullmatch(file):
                raise PresetError(
                    f"{source}: {name!r} lies in {file!r}; a shard is called {example} and lies beside the index"
                )
    return where
