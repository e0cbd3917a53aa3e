"""`python -m stream_worker` is `stream-worker`."""

import sys

from stream_worker.cli import main

sys.exit(main())
