"""`python -m persisting`: the command line."""

import sys

from persisting._cli import main

if __name__ == "__main__":
    sys.exit(main())
