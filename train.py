"""Door to `foleygram train`."""

import sys

from foleygram.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
