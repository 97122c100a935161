"""`python -m graphattn`."""

import sys

from graphattn.command.main import main

if __name__ == "__main__":
    sys.exit(main())
