"""Import zoo in this process and say where from, how fast and with what in tow.

    KERAS_BACKEND=jax python .ci/check_import.py DIR    # zoo/__init__.py must lie in DIR

Run from a folder without zoo. Seconds are those of `import zoo` after `import keras`, bytecode compiled.
"""

import pathlib
import sys
import time

import keras

before = set(sys.modules)
start = time.perf_counter()
import zoo  # noqa: E402

seconds = time.perf_counter() - start
added = sorted(set(sys.modules) - before)

found = pathlib.Path(zoo.__file__).resolve().parent.parent
wanted = pathlib.Path(sys.argv[1]).resolve()
if found != wanted:
    sys.exit(f"zoo was imported from {found}, expected {wanted}")
if seconds > 0.3:
    sys.exit(f"import zoo took {seconds:.3f} s after import keras, 0.3 s are allowed; it loaded {added}")

missing = [name for name in zoo.__all__ if not hasattr(zoo, name)]
if missing:
    sys.exit(f"{wanted}: public names that do not resolve: {missing}")

# The same class under two module names would be registered with Keras twice.
if "layers" in sys.modules or zoo.layers.__name__ != "zoo.layers":
    sys.exit(f"layers was imported as {zoo.layers.__name__}")
print(f"{keras.backend.backend():10s} import zoo: {seconds:.3f} s, {len(added)} modules, from {found}")
