"""`foleygram train`: LightningCLI on a stage's YAML."""

import re
import sys
import traceback
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from foleygram.commands.errors import failed
from foleygram.files import shipped

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI

MOVED_MODULES = {
    "foleygram.checkpoints": "foleygram.pipeline.release",
    "foleygram.training.best": "foleygram.training.best_checkpoint",
    "foleygram.training.guards": "foleygram.training.callbacks",
}
"""Modules that class paths in YAML files written for version 0.1 name, and where their classes are now."""


LISTS = ("--trainer.callbacks", "--trainer.logger")
"""Options to which a class on the command line is added; the classes in the YAML stay."""
CLASS = r"(?!null|true|false)[A-Za-z_{]"
"""Matches the beginning of a class: its name, or a mapping with `class_path`."""


def train(context: typer.Context) -> None:
    """Train a stage: `foleygram train fit --config configs/mini/alignment.yaml` (LightningCLI; `fit --help`)."""
    import logging
    import warnings

    import torch
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from foleygram.training.callbacks import Preempted
    from foleygram.training.summary import PartsTable

    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")  # that is where our arguments come from
    # The sampler resumes within the pass; Lightning cannot see that.
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")  # frozen parts are to stay in it
    # Lightning's own call of what PyTorch has deprecated, and an advertisement.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    rank_zero = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    rank_zero.addFilter(lambda record: "litlogger" not in record.getMessage())
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:
            if type(handler) is logging.StreamHandler:  # not its subclasses, which write elsewhere on purpose
                handler.stream = sys.stderr  # Lightning keeps the stream of its import, which may be closed by now

    for old, new in MOVED_MODULES.items():
        sys.modules.setdefault(old, import_module(new))
    try:
        _stage_cli()(
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"callbacks": [PartsTable()], "enable_model_summary": False},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            args=_adding(_shipped_configs(_without_optimizers(context.args))),
        )
    except torch.OutOfMemoryError as error:
        raise failed(
            ValueError(f"{_first_line(error)} Smaller batches, gradient_checkpointing or bf16 need less")
        ) from None
    except KeyError as error:
        raise failed(
            ValueError(f"{error} is missing; if it is a field of the clips, name it in the data's `fields`")
        ) from None
    except (OSError, ValueError, FloatingPointError, MisconfigurationException, Preempted) as error:
        raise failed(ValueError(_first_line(error))) from None


def _shipped_configs(arguments: list[str]) -> list[str]:
    """The arguments with the path of a shipped YAML in place of its name, where there is no such file here."""
    argv = [str(shipped(one)) if before in ("--config", "-c") else one for before, one in pairwise(["", *arguments])]
    return [f"--config={shipped(one[9:])}" if one.startswith("--config=") else one for one in argv]


def _without_optimizers(arguments: list[str]) -> list[str]:
    """The arguments; raises ValueError for Lightning's options that would replace a stage's own optimiser."""
    for argument in arguments:
        if option := re.match(r"--(optimizer|lr_scheduler)\b", argument):
            raise ValueError(
                f"{option[0]}: a stage builds its own optimiser, with a learning rate per part; set "
                "--model.init_args.lr, and vision_lr or projectors_lr where the YAML has them"
            )
    return arguments


def _adding(arguments: list[str]) -> list[str]:
    """The arguments with `--trainer.callbacks CLASS` and `--trainer.logger CLASS` adding to what the YAML names.

    A list, null, true or false replaces, as everywhere else.
    """
    added: list[str] = []
    for before, argument in pairwise(["", *arguments]):
        option, equals, value = argument.partition("=")
        if before in LISTS and re.match(CLASS, argument):
            added[-1] = f"{before}+"
        added.append(f"{option}+={value}" if option in LISTS and equals and re.match(CLASS, value) else argument)
    return added


def _stage_cli() -> type["LightningCLI"]:
    """LightningCLI as the stages need it; built on call, because Lightning takes seconds to import."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

    from foleygram.training.callbacks import FiniteLoss, Preemption
    from foleygram.training.checkpoints import AtomicCheckpoints, SameRun

    class StageCLI(LightningCLI):
        """LightningCLI whose YAML and command line also apply to a resumed run: a longer `total_steps`, for example.

        Checkpoints and logs without a folder of their own lie in `trainer.default_root_dir`; TensorBoard and CSV logs
        are written unless `trainer.logger` is false, beside the loggers it names.
        """

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            """`--resume.allow_change`, `--finite.every_n_steps` and `--preemption.every_n_steps`."""
            for name, guard in (("resume", SameRun), ("finite", FiniteLoss), ("preemption", Preemption)):
                parser.add_lightning_class_args(guard, name)

        def _parse_ckpt_path(self) -> None:
            """Skip what Lightning does here: the checkpoint's hyperparameters would silently replace the YAML's."""

        def before_instantiate_classes(self) -> None:
            """Give callbacks and loggers without a folder the run's."""
            trainer = self._get(self.config, "trainer")
            for part in (*_listed(trainer.callbacks), *_listed(trainer.logger)):
                init_args = part.get("init_args") or {}
                for name in ("dirpath", "save_dir"):
                    if name in init_args and init_args[name] in (None, "."):
                        init_args[name] = trainer.default_root_dir or "."

        def before_fit(self) -> None:
            """Refuse a new run that would overwrite the `last.ckpt` of an earlier one."""
            if self._get(self.config, "ckpt_path") is not None:
                return
            for part in self.trainer.checkpoint_callbacks:
                if isinstance(part, ModelCheckpoint) and part.save_last and part.dirpath:
                    last = Path(part.dirpath) / f"{part.CHECKPOINT_NAME_LAST}{part.FILE_EXTENSION}"
                    if last.exists():
                        raise ValueError(
                            f"{last}: of an earlier run, which this one would overwrite; resume it with --ckpt_path "
                            "last, or give this run another folder with --trainer.default_root_dir"
                        )

        def instantiate_classes(self) -> None:
            """Build the parts; raises typer.Exit after one line, not a traceback, for a file that does not fit."""
            try:
                super().instantiate_classes()
            except (ValueError, OSError, MisconfigurationException) as error:
                raise failed(_reason(error)) from None

        def instantiate_trainer(self, **kwargs: Any) -> Any:
            """A trainer whose checkpoints are written whole, beside the plugins of the YAML."""
            config = self._get(self.config_init, "trainer")
            root = config.default_root_dir or "."
            if config.logger is not False:
                named = [part for part in _listed(config.logger) if isinstance(part, Logger)]
                usual = [TensorBoardLogger(root, name="tensorboard"), CSVLogger(root, name="log")]
                kinds = {type(part) for part in named}
                kwargs["logger"] = [*(part for part in usual if type(part) not in kinds), *named]
            plugins = [*_listed(config.plugins), AtomicCheckpoints()]
            trainer: Any = super().instantiate_trainer(plugins=plugins, **kwargs)
            if trainer.fast_dev_run:  # Lightning's would still write `last.ckpt` at the end, over a real run's
                trainer.callbacks = [part for part in trainer.callbacks if not isinstance(part, Checkpoint)]
            return trainer

    return StageCLI


def _listed(value: Any) -> list[Any]:
    """A list of `value`: itself where it is one, empty where it is None, true or false."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _reason(error: BaseException) -> BaseException:
    """The error below the parser's own; where one of several classes could not be built, that class's error."""
    root = error
    while root.__cause__ is not None and _is_the_parsers(root):
        root = root.__cause__
    match = re.search(r"Problem with given class_path '(\S+)':\n\s+(.+)", str(error))
    return ValueError(f"{match[1]}: {match[2]}") if match and "Not a valid subclass" in str(root) else root


def _is_the_parsers(error: BaseException) -> bool:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals["__name__"]).startswith("jsonargparse.")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]
