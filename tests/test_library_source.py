"""What the library's source may not hold, so that hostile files stay harmless (rows T1, T2, T5, T16, T17 of SECURITY.md)."""

import pytest
from support.library_source import LIBRARY, called, each, imported, name_of, nodes

pytestmark = pytest.mark.neutral

CODE_CARRIERS = set("pickle cPickle _pickle cloudpickle dill joblib marshal shelve tarfile zipfile zipimport".split())
CODE_RUNNERS = set(
    "eval exec compile __import__ os.system os.popen shutil.unpack_archive torch.load "
    "keras.models.load_model keras.saving.load_model".split()
)
NETWORK = set("socket ssl http urllib urllib3 requests httpx aiohttp ftplib smtplib telnetlib xmlrpc".split())
HUBS = {"huggingface_hub", "kagglehub"}
# Who may open files: the store for everything preset-like, zoo/data for the user's own data.
OPENERS = ("zoo/store", "zoo/data", "zoo/callbacks/csv_rows", "zoo/training/mixture")
# What handles content of presets, checkpoints and saved states.
READERS = (
    "zoo/store",
    "zoo/formats",
    "zoo/models/preset",
    "zoo/callbacks",
    "zoo/tasks/threshold",
    "zoo/text",
    "layers/options",
)
OPENING = set(
    "open fdopen read_text read_bytes write_text write_bytes memmap fromfile tofile genfromtxt loadtxt "
    "savetxt savez savez_compressed safe_open load_file save_file".split()
)
NUMPY_FILES = {"np.load", "np.save", "numpy.load", "numpy.save"}


@each(LIBRARY)
def test_T01_T05_T17_library_runs_and_unpacks_nothing_it_reads(path):
    """No pickle, no archive, no eval, no import by a name from a file: a preset is JSON and arrays."""
    assert not CODE_CARRIERS & {module.partition(".")[0] for module in imported(path)}
    # zoo/__init__.py imports from a fixed table of its own.
    imports = set() if name_of(path) == "zoo/__init__.py" else {"importlib.import_module", "import_module"}
    assert not [(name, line) for name, line in called(path) if name in CODE_RUNNERS | imports]
    for node in nodes(path):
        if type(node).__name__ == "keyword" and node.arg == "allow_pickle":
            assert node.value.value is False


@each([path for path in LIBRARY if name_of(path).startswith(READERS)])
def test_T01_what_reads_files_looks_up_no_class_by_name(path):
    """Keras' own look-up is for the `from_config` of objects that the user serialised; presets go by closed tables."""
    assert not [
        (name, line) for name, line in called(path) if "deserialize" in name or name.startswith("getattr(keras")
    ]


@each([path for path in LIBRARY if not name_of(path).startswith(OPENERS)])
def test_T02_only_the_store_and_the_data_reader_open_files(path):
    opened = [(name, line) for name, line in called(path) if name.split(".")[-1] in OPENING or name in NUMPY_FILES]
    # `folder` is always the store's own Folder, which checks what it opens.
    opened = [(name, line) for name, line in opened if name.split(".")[-2:-1] != ["folder"]]
    assert not opened, "let zoo.store open it"


@each(LIBRARY)
def test_T16_only_the_hub_module_knows_a_network(path):
    modules = {module.partition(".")[0] for module in imported(path)}
    assert not modules & (NETWORK if name_of(path) == "zoo/formats/hub.py" else NETWORK | HUBS)
