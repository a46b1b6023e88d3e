"""Presets that come with zoo, data only. `zoo.presets()` lists them, and the published ones of the lineage."""

import sys
import types


class _Presets(types.ModuleType):
    # The name is both the package of the data and the function that lists it; without this, importing the
    # package would hide the function.
    def __call__(self):
        """See `zoo.known_presets.presets`."""
        from zoo.known_presets import presets

        return presets()


sys.modules[__name__].__class__ = _Presets
