"""Pre-train the embedded backbone: ``python -m tools.pretrain_backbone --out DIR``."""

import sys

from tools.pretrain_backbone.training import main

if __name__ == "__main__":
    sys.exit(main())
