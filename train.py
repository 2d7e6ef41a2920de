"""Door to `foleygram train`."""

import sys

from foleygram.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
