"""Stage 1 of DeRL, a rival of the paper's tables: training faces in, a generator that makes a face neutral out.

In:  StageInputs: a Fold with neutral faces, its Views and theirs, a TrainConfig whose budgets are resolved.
Out: NeutralStage, for engine.loop.run_stage; its weights are encoder, which is the whole G: DE-GAN's head is trained on its layers.

    code                        paper (Yang, Ciftci and Yin, CVPR 2018)
    pairs                       an expressive face, and the same person's neutral face in the same view
    generator                   G, an auto-encoder: "de-expression"
    discriminator               D of a conditional GAN: it sees both faces
    residue                     layers of the same size of encoder and decoder, side by side, for the four local CNNs of stage 2

Faces of a person who has no neutral face take no part here; the log counts them. They are in stage 2 like all others.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fer_model.data.batches import Batches
from fer_model.engine.kept import Average
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.losses import pair_loss
from fer_model.networks import NeutralGenerator, PairDiscriminator, build
from fer_model.stages.classifier import view_inputs
from fer_model.stages.gan import at_rest
from fer_model.stages.inputs import FoldStage, StageInputs

__all__ = ["NeutralStage"]


class NeutralStage(FoldStage):
    """D, then G, on every batch of pairs."""

    name = "neutral"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, device, net = inputs.config, inputs.device, inputs.config.network
        self.neutral = inputs.neutral
        _, goes_with = inputs.fold.neutral()                             # (n,)
        self.faces = torch.nonzero(goes_with >= 0)[:, 0]                 # (m,) training faces that have a neutral one
        self.goes_with = goes_with[self.faces]                           # (m,)
        self.batches = Batches(len(self.faces), self.config.batch, config.seed, self.name)
        made = {"generator": lambda: NeutralGenerator(net), "discriminator": lambda: PairDiscriminator(net)}
        self.learners = {
            name: Learner(build(make, device, net.init_std, stream(config.seed, f"init/neutral/{name}")).train(), self.config, self.steps)
            for name, make in made.items()
        }
        self.generator, self.discriminator = (learner.network for learner in self.learners.values())
        self.average = Average(self.generator, self.config) if self.config.average_half_kimg else None

    def draw(self, step: int) -> dict[str, Tensor]:
        places, k = self.batches.at(step)                                # (B,), (B,)
        return {"faces": self.faces[places], "neutral": self.goes_with[places], "k": k}

    def pairs(self, drawn: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return a step's faces and their neutral ones, in the same views: two of (B, C, S, S)."""
        size = self.run.network.image_size
        return tuple(view_inputs(of, drawn[name], drawn["k"], size) for of, name in ((self.views, "faces"), (self.neutral, "neutral")))

    def compute(self, drawn: Mapping[str, Tensor], kind: None) -> dict[str, Tensor]:
        x, neutral = self.pairs(drawn)
        with self.autocast():
            made = self.generator(x)                                     # (B, C, S, S)
        of_real, of_made = pair_loss(self._judge(x, neutral), True), pair_loss(self._judge(x, made.detach()), False)
        self.learners["discriminator"].descend(of_real + of_made)
        with at_rest(self.discriminator):
            pleases, pixels = pair_loss(self._judge(x, made), True), (made - neutral).abs().mean()
        self.learners["generator"].descend(pleases + self.config.pixels * pixels)
        return {"G": pleases + self.config.pixels * pixels, "G_pixels": pixels, "G_D": pleases, "D": of_real + of_made}

    def _judge(self, x: Tensor, neutral: Tensor) -> Tensor:
        with self.autocast():
            return self.discriminator(x, neutral)                        # (B,)

    def review(self, step: int) -> dict[str, float]:
        """Count the training faces whose person has no neutral face, if there are any."""
        left_out = self.views.n_faces - len(self.faces)
        return {"faces_without_neutral": left_out} if left_out else {}

    def samples(self, step: int) -> list[str]:
        return self.batches.names_at(step, self.fold.train["image_id"].iloc[self.faces.numpy()])

    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.generator if self.average is None else self.average.network}
