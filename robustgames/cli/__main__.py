"""`python -m robustgames.cli`."""

import sys

from robustgames.cli import main

if __name__ == "__main__":
    sys.exit(main())
