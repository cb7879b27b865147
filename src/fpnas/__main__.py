"""`python -m fpnas`, and what torchrun starts with `-m fpnas`."""

import sys

from fpnas.cli import main

sys.exit(main())
