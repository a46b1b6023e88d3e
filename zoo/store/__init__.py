"""The only code that opens or writes presets, checkpoints and their like.

Reading: `Folder`, which hands out bytes, text, JSON and memory maps of files with plain names. Writing:
`write_folder`, which replaces all files of a folder at once. Formats work on what these hand out and never
see a path.
"""

from zoo.store.folder import Folder as Folder
from zoo.store.names import PresetError as PresetError
from zoo.store.names import check_name as check_name
from zoo.store.names import check_shape as check_shape
from zoo.store.names import check_tensor_name as check_tensor_name
from zoo.store.safetensors import safetensors_bytes as safetensors_bytes
from zoo.store.safetensors import safetensors_writer as safetensors_writer
from zoo.store.saving import check_target as check_target
from zoo.store.saving import seal as seal
from zoo.store.saving import write_folder as write_folder
