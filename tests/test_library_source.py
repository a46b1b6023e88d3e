"""What the library's source may not hold, so that hostile files stay harmless (rows T1, T2, T5, T16, T17 of SECURITY.md)."""

import pytest
from support.library_source import LIBRARY, called, imported, name_of, nodes

pytestmark = pytest.mark.neutral

CODE_CARRIERS = set("pickle cPickle _pickle cloudpickle dill joblib marshal shelve tarfile zipfile zipimport".split())
CODE_RUNNERS = set(
    "eval exec compile __import__ os.system os.popen shutil.unpack_archive torch.load "
    "keras.models.load_model keras.saving.load_model".split()
)
NETWORK = set("socket ssl http urllib urllib3 requests httpx aiohttp ftplib smtplib telnetlib xmlrpc".split())
HUBS = {"huggingface_hub", "kagglehub"}
# Who may open files: the store for everything preset-like, zoo/data for the user's own data.
OPENERS = ("zoo/store", "zoo/data", "zoo/callbacks/learning_log")
# What handles content of presets, checkpoints and saved states.
READERS = (
    "zoo/store",
    "zoo/formats",
    "zoo/models/preset",
    "zoo/callbacks",
    "zoo/metrics/threshold",
    "zoo/runtime",
    "zoo/tasks/threshold",
    "zoo/text",
    "layers/options",
)
OPENING = set(
    "open fdopen read_text read_bytes write_text write_bytes memmap fromfile tofile genfromtxt loadtxt "
    "savetxt savez savez_compressed safe_open load_file save_file".split()
)
NUMPY_FILES = {"np.load", "np.save", "numpy.load", "numpy.save"}


def roots(path):
    return {module.partition(".")[0] for module in imported(path)}


def test_T01_T05_T17_library_runs_and_unpacks_nothing_it_reads():
    """No pickle, no archive, no eval, no import by a name from a file: a preset is JSON and arrays."""
    imports = {"importlib.import_module", "import_module"}
    for path in LIBRARY:
        assert not CODE_CARRIERS & roots(path), name_of(path)
        # zoo/__init__.py imports from a fixed table of its own.
        forbidden = CODE_RUNNERS if name_of(path) == "zoo/__init__.py" else CODE_RUNNERS | imports
        assert not [(name_of(path), line, name) for name, line in called(path) if name in forbidden]
        for node in nodes(path):
            if type(node).__name__ == "keyword" and node.arg == "allow_pickle":
                assert node.value.value is False, name_of(path)


def test_T01_what_reads_files_looks_up_no_class_by_name():
    """Keras' own look-up is for the `from_config` of objects that the user serialised; presets go by closed tables."""
    readers = [path for path in LIBRARY if name_of(path).startswith(READERS)]
    assert {part for part in READERS if not [path for path in readers if name_of(path).startswith(part)]} == set()
    assert not [
        (name_of(path), line, name)
        for path in readers
        for name, line in called(path)
        if "deserialize" in name or name.startswith("getattr(keras")
    ]


def test_T02_only_the_store_and_the_data_reader_open_files():
    others = [path for path in LIBRARY if not name_of(path).startswith(OPENERS)]
    opened = [
        (name_of(path), line, name)
        for path in others
        for name, line in called(path)
        # `folder` is always the store's own Folder, which checks what it opens.
        if (name.split(".")[-1] in OPENING and name.split(".")[-2:-1] != ["folder"]) or name in NUMPY_FILES
    ]
    assert not opened, "let zoo.store open it"


def test_T16_only_the_hub_module_knows_a_network():
    for path in LIBRARY:
        forbidden = NETWORK if name_of(path) == "zoo/formats/hub.py" else NETWORK | HUBS
        assert not forbidden & roots(path), name_of(path)
