"""Evaluate from a checkout: python scripts/evaluate.py RUN, the same as `robustgames evaluate`."""

import sys

from robustgames.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
