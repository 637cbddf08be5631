"""`python -m mmlite` is the command `mmlite`; so torchrun can start it."""

import sys

from mmlite.cli import main

if __name__ == "__main__":
    sys.exit(main())
