"""`python -m distilmt`, also for `torchrun -m distilmt`."""

import sys

from distilmt.cli import main

sys.exit(main())
