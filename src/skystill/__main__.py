"""python -m skystill."""

import sys

from skystill.cli.main import main

sys.exit(main())
