"""`foleygram train`: LightningCLI on a stage's YAML."""

import typer

from foleygram.commands.errors import failed


def train(context: typer.Context) -> None:
    """Train a stage: `foleygram train fit --config configs/mini/alignment.yaml` (LightningCLI; `fit --help`)."""
    import warnings

    from lightning.pytorch.cli import LightningCLI

    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")  # that is where our arguments come from

    class StageCLI(LightningCLI):
        """LightningCLI whose YAML and command line hold on a resumed run too, a longer `total_steps` for example."""

        def _parse_ckpt_path(self) -> None:
            """Leave out what Lightning does here: the checkpoint's hyperparameters would silently replace ours."""

        def instantiate_classes(self) -> None:
            """Build the parts; a file that is missing or does not fit is one line, not the parser's traceback."""
            try:
                super().instantiate_classes()
            except (ValueError, OSError) as error:
                raise failed(_root(error)) from None

    StageCLI(
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
        args=context.args,
    )


def _root(error: BaseException) -> BaseException:
    """What was raised first, beneath what was raised from it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
