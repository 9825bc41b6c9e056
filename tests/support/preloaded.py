"""What each program makes first, made once in the process from which they are forked, after it has imported the rest."""

import gc

from domain import registry

registry.codec()
gc.collect()
gc.freeze()
