"""What each program does first, done once in the process from which they are forked."""

import gc

import api.cli.main  # noqa: F401 - all of these are there in what is forked
import api.service  # noqa: F401
import tests.support.forked_children  # noqa: F401
import tests.support.forked_program  # noqa: F401
from domain import registry

registry.codec()
gc.collect()
gc.freeze()
