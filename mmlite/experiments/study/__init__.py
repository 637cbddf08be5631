"""A study: arms compared over seeds by a protocol that was written before the first run.

`protocol_file` reads a `protocol`, `cells` says which runs are to do, `arms` trains one of them,
`readings` says what came of it, `lines` holds the results in files, `run` does all of this, and
`verdict` and `report` say what it means.
"""

from mmlite.support.lazy import submodules

__getattr__ = submodules(__name__)
