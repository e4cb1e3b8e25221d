"""`python -m contentgen_try`: the command `contentgen try`, in a checkout."""

import sys

from contentgen_try.command import main

if __name__ == "__main__":
    sys.exit(main())
