"""The judging CNNs: expression and identity, trained on real training faces and nothing else; and what they say of synthesised faces.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved. Then faces, and what each is to show.
Out: JudgesStage, for engine.loop.run_stage: it trains before stage 1 and is no part of the method. Shares of right answers by name.

A cell is a pair (person, expression). Some cells of the training people are held out of the judges' training, with all their
sequences: on these real faces a judge is as good as it can be trusted to be where a person shows a new expression. Where people are
unknown, there is one judge, of the expression, and pictures are held out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_data.store.loader import Views
from fer_model.config import CnnConfig, TrainConfig
from fer_model.data.augment import draw_changes, strengthen
from fer_model.data.batches import Batches
from fer_model.data.fold import Fold, people_in, people_of
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.networks import BaselineCnn, build, to_input_size
from fer_model.stages.classifier import centre_inputs
from fer_model.stages.inputs import FoldStage, StageInputs

__all__ = ["HELD_OUT", "JudgesStage", "Verdicts", "cells_seen", "held_out", "judge_network", "judged_real", "verdicts"]

HELD_OUT = 0.15                       # share of the cells that the judges do not learn from
AT_ONCE = 128                         # faces that a judge sees at once; bounds memory alone


def cells_seen(fold: Fold) -> Tensor:
    """Return which cells the training faces show: (N_i, N_e) bool, on the CPU."""
    found = torch.zeros(len(fold.identities), len(fold.classes), dtype=torch.bool)
    found[fold.identity_labels(found.device), fold.expression_labels(found.device)] = True
    return found


def held_out(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Return which training faces the judges do not learn from, (n,) bool: cells drawn by `seed`, with all of their sequences.

    Every person and every expression keeps a face to learn from; where that is not possible, fewer cells are held out, or none. Where
    people are unknown they are pictures, and every expression keeps one.
    """
    if not people_in(rows):
        return _pictures_held_out(rows, seed)
    person, expression = (pd.factorize(names)[0] for names in (people_of(rows), rows["expression"]))
    sequence = rows.groupby(["dataset", "subject", "sequence"]).ngroup().to_numpy()                  # (n,)
    cell, cells = pd.factorize(pd.Series(list(zip(person, expression, strict=True))))
    wanted, found, out = round(HELD_OUT * len(cells)), 0, np.zeros(len(rows), bool)
    for number in torch.randperm(len(cells), generator=stream(seed, "judges/held out")).tolist():
        if found == wanted:
            break
        more = out | np.isin(sequence, sequence[cell == number])
        if all(len(np.unique(names[~more])) == names.max() + 1 for names in (person, expression)):
            found, out = found + 1, more
    return out


def _pictures_held_out(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Return which of pictures of unknown people are held out, (n,) bool."""
    order = torch.randperm(len(rows), generator=stream(seed, "judges/held out")).numpy()
    again = rows["expression"].iloc[order].duplicated().to_numpy()       # the first of each expression stays
    out = np.zeros(len(rows), bool)
    out[order[again][: round(HELD_OUT * len(rows))]] = True
    return out


def judge_network(config: TrainConfig, n_classes: int, stage: str = "judges") -> BaselineCnn:
    """Return a judge, or with stage `critics` a critic, of `n_classes` expressions or people, without weights."""
    sizes = getattr(config, stage)
    return BaselineCnn(config.network, CnnConfig(channels=sizes.channels, features=sizes.features, dropout=0.0), n_classes)


class JudgesStage(FoldStage):
    """Two CNNs on the same real faces: which expression, which training person; one where people are unknown."""

    name = "judges"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, fold, device = inputs.config, inputs.fold, inputs.device
        self.stronger_views = getattr(self.config, "stronger_views", 0.0)        # the judges have none
        self.kept = torch.from_numpy(np.flatnonzero(self.learned_from(fold, config)))                             # (m,) faces
        self.batches = Batches(len(self.kept), self.config.batch, config.seed, self.name)
        labels = {"expression": fold.expression_labels(device)}          # (n,) each
        if fold.identities:
            labels["identity"] = fold.identity_labels(device)
        sizes = {"expression": len(fold.classes), "identity": len(fold.identities)}
        self.learners, self.labels = {}, {}
        for name, kind in self.kinds().items():
            rng = stream(config.seed, f"init/{self.name}/{name}")
            judge = build(lambda kind=kind: judge_network(config, sizes[kind], self.name), device, config.network.init_std, rng)
            self.learners[name], self.labels[name] = Learner(judge, self.config, self.steps), labels[kind]

    def kinds(self) -> dict[str, str]:
        """Return what each network names, by the network's name."""
        return {"expression": "expression"} | ({"identity": "identity"} if self.fold.identities else {})

    @staticmethod
    def learned_from(fold: Fold, config: TrainConfig) -> np.ndarray:
        """Return which training faces are learned from, (n,) bool."""
        return ~held_out(fold.train, config.seed)

    def draw(self, step: int) -> dict[str, Tensor]:
        places, k = self.batches.at(step)                                # (B,), (B,)
        changes = draw_changes(len(places), self.stronger_views, stream(self.run.seed, f"{self.name}/views", step))
        return {"faces": self.kept[places], "k": k, "changes": changes}

    def compute(self, drawn: Mapping[str, Tensor], kind: None) -> dict[str, Tensor]:
        faces = drawn["faces"]
        x = to_input_size(self.views.batch(faces, drawn["k"]), self.run.network.image_size)   # (B, C, S, S)
        x = strengthen(x, self.stronger_views, drawn["changes"])
        losses = {}
        for name, learner in self.learners.items():
            learner.network.train()
            with self.autocast():
                logits = learner.network(x)                              # (B, K)
            losses[name] = F.cross_entropy(logits, self.labels[name][faces])
            learner.descend(losses[name])
        return losses

    def samples(self, step: int) -> list[str]:
        return self.batches.names_at(step, self.fold.train["image_id"].iloc[self.kept.numpy()])

    def networks(self) -> dict[str, nn.Module]:
        return {kind: learner.network for kind, learner in self.learners.items()}


@dataclass(frozen=True)
class Verdicts:
    """What the judges say of n faces."""

    expression: Tensor                # (n,) int64, on the CPU
    identity: Tensor | None           # (n,) int64, training people; None: people unknown

    def shares(
        self, expression: Tensor, target: Tensor | None, seen: Tensor | None = None, source: Tensor | None = None
    ) -> dict[str, float]:
        """Return shares of right answers: of all faces and, given `seen`, of those in cells that training has and has not.

        expression, target   (n,) what each face is to show, and whom; None: people unknown, judged_expression is all there is
        seen                 (n,) bool, whether training has the cell (target, expression); a part without a face is left out
        source               (n,) whose face the expression comes from: source_identity is the share that show this person
        """
        what = self.expression == expression.cpu()
        if self.identity is None:
            return {"judged_expression": what.float().mean().item()}
        whom = self.identity == target.cpu()
        parts = {"": torch.ones_like(what)} | ({} if seen is None else {"_seen": seen.cpu(), "_unseen": ~seen.cpu()})
        found = {
            name + part: right[which].float().mean().item()
            for name, right in (("both_right", what & whom), ("judged_expression", what), ("judged_identity", whom))
            for part, which in parts.items() if which.any()
        }
        return found if source is None else found | {"source_identity": (self.identity == source.cpu()).float().mean().item()}


@torch.inference_mode()
def verdicts(judges: Mapping[str, nn.Module], faces: Tensor) -> Verdicts:
    """Return what the judges, in evaluation mode, say of faces (n, C, S, S) in [-1, 1]."""
    said = {kind: [judge(part).argmax(1).cpu() for part in faces.split(AT_ONCE)] for kind, judge in judges.items()}
    return Verdicts(**{"identity": None} | {kind: torch.cat(parts) for kind, parts in said.items()})


def judged_real(judges: Mapping[str, nn.Module], fold: Fold, views: Views, config: TrainConfig) -> dict[str, float]:
    """Return the judges' own shares of right answers, as <name>_real, on the real faces that they have not learned from.

    `views`: of fold.train. Empty if every face was needed to learn from.
    """
    faces = torch.from_numpy(np.flatnonzero(held_out(fold.train, config.seed)))
    if not len(faces):
        return {}
    said = verdicts(judges, torch.cat([centre_inputs(views, part, config.network.image_size) for part in faces.split(AT_ONCE)]))
    cpu = torch.device("cpu")
    shares = said.shares(fold.expression_labels(cpu)[faces], fold.identity_labels(cpu)[faces] if fold.identities else None)
    return {f"{name}_real": value for name, value in shares.items()}
