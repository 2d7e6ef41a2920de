"""The one command `foleygram` and its subcommands; each imports only what it needs."""

import sys


def train(arguments: list[str]) -> None:
    """`foleygram train fit --config FILE ...`: Lightning's own command line over the YAMLs in `configs`."""
    from lightning.pytorch.cli import LightningCLI

    LightningCLI(
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
        args=arguments,
    )


def main() -> None:
    """Entry point of `foleygram`."""
    train(sys.argv[2:])
