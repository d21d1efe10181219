"""`python -m benchmarks.gpu_counts`."""

import sys

from benchmarks.gpu_counts import main

sys.exit(main())
