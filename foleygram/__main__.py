"""`python -m foleygram`."""

from foleygram.cli import main

if __name__ == "__main__":
    main()
