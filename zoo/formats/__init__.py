"""Formats of presets, each a module with `matches(folder)` and `read(folder)` -> `Checkpoint`; some also write.

They are imported when a preset is loaded or saved, so that a model made by its constructor costs no reader.
"""


def readers():
    """Modules in the order in which a folder is offered to them."""
    from zoo.formats import bert4keras, hugging_face, keras_hub, zoo_preset

    return zoo_preset, keras_hub, hugging_face, bert4keras


def writers():
    """`format` of `save_to_preset` -> module with `to_files(model)`."""
    from zoo.formats import bert4keras, hugging_face, zoo_preset

    return {"zoo": zoo_preset, "bert4keras": bert4keras, "hugging_face": hugging_face}


def sources():
    """The modules that find the folder of a name: presets that come with zoo, and hubs."""
    from zoo.formats import catalogue, hub

    return catalogue, hub
