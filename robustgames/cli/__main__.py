"""`python -m robustgames.cli`."""

import sys

from robustgames.cli import main

sys.exit(main())
