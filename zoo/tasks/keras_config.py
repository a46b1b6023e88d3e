"""What Keras saves, copies and sends of a task, in `.keras` files, pickles and clones: its config, the tokenizer in it."""

import keras

from zoo.formats.vocabulary import tokenizer_config, tokenizer_from


def task_config(task):
    """The config of a task: backbone, options, name and tokenizer, JSON-ready."""
    backbone = keras.saving.serialize_keras_object(task.backbone)
    return {"backbone": backbone, **task.task_config(), "name": task.name, "tokenizer": tokenizer_config(task)}


def task_arguments(config):
    """The constructor's arguments from a config of `task_config`; files of before have no name and no tokenizer."""
    arguments = {**config, "tokenizer": tokenizer_from(config.get("tokenizer"))}
    if isinstance(arguments["backbone"], dict):
        arguments["backbone"] = keras.saving.deserialize_keras_object(arguments["backbone"])
    return arguments
