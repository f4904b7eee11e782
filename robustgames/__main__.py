"""`python -m robustgames`, which is the command `robustgames`."""

import sys

from robustgames.cli import main

sys.exit(main())
