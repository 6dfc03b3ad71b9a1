"""One BLAS thread: at these sizes more are slower, and results must not depend on the machine's core count."""

import os

# BLAS reads these once, when numpy is imported
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from hypothesis import settings

# the same examples in every run, no database folder, and no verdict that depends on the clock
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("repeatable")
