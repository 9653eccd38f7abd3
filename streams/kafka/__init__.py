"""Everything that speaks to brokers through kafka-python: what collectors and commands write, topics and rights, whole
topics read by commands. Consumer groups are the engine's (`streams.engine`). The door of `kafka`.
"""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it reads its schemas in a way Python 3.11 calls deprecated
    import kafka as _kafka

del _kafka, warnings
