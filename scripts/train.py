"""Train from a checkout: python scripts/train.py [AGENT ENV] [flags], the same as `robustgames train`."""

import sys

from robustgames.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
