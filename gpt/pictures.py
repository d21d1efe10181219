"""Pictures of a run, as PNG files."""

from gpt.loss_picture import draw_loss

__all__ = ["draw_loss"]
