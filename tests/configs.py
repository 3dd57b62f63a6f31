"""Configurations as tests change them."""

from dataclasses import replace

from fer_model.config import TrainConfig

__all__ = ["with_head"]


def with_head(config: TrainConfig, variant: str) -> TrainConfig:
    """Return the configuration with another head on stage 1."""
    return replace(config, head=replace(config.head, variant=variant))
