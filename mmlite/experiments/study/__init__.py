"""A study: arms compared over seeds by a protocol that was written before the first run.

`protocol` reads the file, `cells` says which runs are to do, `arms` trains one of them, `readings`
says what came of it, `lines` keeps the results, `run` does all of this, and `verdict` answers.
"""

from mmlite.support.lazy import submodules

__getattr__ = submodules(__name__)
