"""The table of trained and frozen parameters, printed when training starts."""

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.table import Table
from torch import nn


class PartsTable(Callback):
    """Prints the parameters of each part, trained and frozen."""

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Print the table from the first process."""
        if trainer.is_global_zero:
            Console(stderr=True).print(parts_table(pl_module))


def parts_table(network: nn.Module) -> Table:
    """Trained and frozen parameters of each direct part of `network`, and their sum."""
    table = Table("part", "class", box=None)
    for heading in ("trained", "frozen"):
        table.add_column(heading, justify="right")
    own = [(name, [p], "parameter") for name, p in network.named_parameters(recurse=False)]
    parts = [(name, list(part.parameters()), type(part).__name__) for name, part in network.named_children()]
    total = [0, 0]
    for name, parameters, kind in own + parts:
        counts = [sum(p.numel() for p in parameters if p.requires_grad is learns) for learns in (True, False)]
        total = [so_far + count for so_far, count in zip(total, counts, strict=True)]
        table.add_row(name, kind, *(f"{count:,}" for count in counts))
    table.add_row("all", "", *(f"{count:,}" for count in total))
    return table
