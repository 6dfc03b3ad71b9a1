"""`python -m maml_exp` is the `maml-exp` command."""

import sys

from maml_exp.cli import main

sys.exit(main())
