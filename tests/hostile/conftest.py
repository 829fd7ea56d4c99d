"""What the tests here take over from others: workers over a store, and a lane with a worker."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "integration"))
