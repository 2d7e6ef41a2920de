"""Door to `foleygram generate`."""

import sys

from foleygram.cli import main

if __name__ == "__main__":
    main(["generate", *sys.argv[1:]])
