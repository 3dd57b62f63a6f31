"""One step of every stage, in as many processes as torchrun started: python ddp_step.py DATA OUT. For test_model_world.

Each process writes OUT/rank<N>.safetensors: gradients of each learner, and the sample ids (face, view) that it was given.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from fer_data.store.loader import open_views
from fer_model.config import preset, resolve_budgets
from fer_model.data.fold import read_prepared
from fer_model.engine import checkpoint, distributed
from fer_model.stages.cnn import CnnStage
from fer_model.stages.gan import GanStage
from fer_model.stages.head import HeadStage
from fer_model.stages.inputs import StageInputs
from fer_model.stages.judges import JudgesStage
from tests.stepping import do

__all__ = ["one_step"]

CPU = torch.device("cpu")


def one_step(data: Path) -> dict[str, torch.Tensor]:
    """Return the gradients and samples of step 3 of each stage, with BN frozen, by name."""
    fold = read_prepared(data).fold(0)
    views = open_views(data, fold.train)
    config = resolve_budgets(preset("smoke"), len(fold.train))
    config = replace(config, cnn=replace(config.cnn, dropout=0.5, mixup=0.4), head=replace(config.head, dropout=0.5, mixup=0.4))
    given, batch = [], views.batch
    views.batch = lambda faces, k: given.append(torch.stack([faces, k])) or batch(faces, k)
    inputs = StageInputs(config, fold, views, CPU)
    gan = GanStage(inputs)
    stages = [gan, JudgesStage(inputs), CnnStage(inputs), HeadStage(inputs.after(gan))]
    found = {}
    for stage in stages:
        for learner in stage.learners.values():
            learner.network.train()
            for module in learner.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.train = lambda mode=True, own=module: own     # whatever a stage says, running statistics are used
                    module.training = False
        given.clear()
        do(stage, 3)
        found[f"{stage.name}/samples"] = given[0]
        for name, learner in stage.learners.items():
            for weight_name, weight in learner.network.named_parameters():
                if weight.grad is not None:
                    found[f"{stage.name}/{name}/{weight_name}"] = weight.grad.clone()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.join(CPU)
    checkpoint.write_tensors(Path(sys.argv[2]) / f"rank{distributed.rank()}.safetensors", one_step(Path(sys.argv[1])))
