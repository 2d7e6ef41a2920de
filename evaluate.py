"""Door to `foleygram evaluate`."""

import sys

from foleygram.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
