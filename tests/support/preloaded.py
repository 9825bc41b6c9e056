"""Modules and objects that all programs need, created once in the process from which they are forked."""

import gc
from importlib import import_module

from api.cli.main import ELSEWHERE
from domain import registry

for place in ELSEWHERE.values():
    import_module(place.partition(":")[0])
registry.codec()
gc.collect()
gc.freeze()
