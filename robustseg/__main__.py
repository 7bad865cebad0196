"""``python -m robustseg`` is the ``robustseg`` command."""

import sys

from robustseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
