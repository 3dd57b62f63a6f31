"""Watch how stage 1 fares while it trains: judges score the synthesised faces, a sheet shows them.

In:  StageInputs, the trained judges among them; on ticks, the GanStage.
Out: Health, a Watcher: numbers for the log.

    number                      what it says
    judged_expression           share of the synthesised faces G(x, I, z) that show y^e of x to the expression judge
    judged_identity             share that show the target identity to the identity judge
    judged_expression_real,     the same judges on the real x: what the two above could reach at best
    judged_identity_real
    code_effect                 how much a pixel changes with I, x and z staying: standard deviation over identities, in [-1, 1].
                                Near 0: G ignores the code, the known failure of DR-GAN's kind on small data
    input_effect                the same over inputs of different expressions, I and z staying
    kid_own                     kernel distance between real and synthesised faces in the expression judge's hidden layer
                                (torchmetrics; unbiased). Its features are the project's own: never comparable with KID on Inception's

Nothing here takes part in training: no random number that training uses, no gradient, no state of G.
"""

import warnings

import torch
from torch import Tensor, nn

from fer_data.store.loader import to_u8, to_unit
from fer_model.engine.loop import due
from fer_model.engine.randomness import stream
from fer_model.networks import BaselineCnn
from fer_model.stages.classifier import centre_inputs
from fer_model.stages.gan import GanStage, draw_codes
from fer_model.stages.inputs import StageInputs
from fer_model.stages.sample_sheet import spread_over

__all__ = ["Health"]

N_CODES = 8                           # identities, and inputs, over which the two effects are measured
KID_SUBSETS, KID_SUBSET_SIZE = 20, 64


class Health:
    """Judges the same real faces, synthesised as the same target identities with the same noise, every judges.every_kimg."""

    def __init__(self, inputs: StageInputs):
        self.judges = {kind: network.eval().requires_grad_(False) for kind, network in inputs.trained["judges"].items()}
        self.config = inputs.config.judges
        run, fold, views, device = inputs.config, inputs.fold, inputs.views, inputs.device
        faces = spread_over(views.n_faces, self.config.n_faces)          # (n,) over all people
        self.x = centre_inputs(views, faces, run.network.image_size)     # (n, C, S, S)
        self.expression = fold.expression_labels(device)[faces.to(device)]
        identity = fold.identity_labels(device)[faces.to(device)]
        target, noise = draw_codes(
            identity.cpu(), len(fold.identities), run.network.noise, "other", stream(run.seed, "health/codes")
        )
        self.target, self.noise = target.to(device), noise.to(device)         # (n,), (n, N_z)
        self.real = {
            "judged_expression_real": self._share("expression", self.x, self.expression),
            "judged_identity_real": self._share("identity", self.x, identity),
        }

    @torch.inference_mode()
    def on_tick(self, stage: GanStage, step: int) -> dict[str, float]:
        """Return the numbers above, if it is time to."""
        if not due(stage, step, self.config.every_kimg):
            return {}
        generator, training = stage.finished, stage.finished.training
        generator.eval()
        fake = generator(self.x, stage.codes(self.target), self.noise)   # (n, C, S, S)
        code_effect, input_effect = self._effects(stage)
        generator.train(training)
        found = {
            "judged_expression": self._share("expression", fake, self.expression),
            "judged_identity": self._share("identity", fake, self.target),
            **self.real, "code_effect": code_effect, "input_effect": input_effect, "kid_own": self._kid(fake),
        }  # fmt: skip
        return {name: float(f"{value:.4g}") for name, value in found.items()}

    def on_end(self, stage: GanStage) -> None:
        """Nothing: the last tick was looked at."""

    def _share(self, kind: str, faces: Tensor, labels: Tensor) -> float:
        with torch.inference_mode():
            return (self.judges[kind](faces).argmax(1) == labels).float().mean().item()

    def _effects(self, stage: GanStage) -> tuple[float, float]:
        """Return the mean standard deviation of a pixel over identities, and over inputs."""
        n = min(N_CODES, len(self.x), len(stage.fold.identities))
        rows, people = (spread_over(total, n).to(self.x.device) for total in (len(self.x), len(stage.fold.identities)))
        f = stage.finished.encoder(self.x[rows])                         # (n, N_f)
        noise = self.noise[:1].expand(n, -1)
        made = torch.stack([stage.finished.decoder(f, stage.codes(person.expand(n)), noise) for person in people])
        return made.std(0).mean().item(), made.std(1).mean().item()      # made: (identity, input, C, S, S)

    def _kid(self, fake: Tensor) -> float:
        from torchmetrics.image.kid import KernelInceptionDistance  # a second to import

        size = min(KID_SUBSET_SIZE, len(fake))
        with warnings.catch_warnings():                                  # "will save all extracted features": a few hundred
            warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance`", category=UserWarning)
            metric = KernelInceptionDistance(_Hidden(self.judges["expression"]), subsets=KID_SUBSETS, subset_size=size)
        metric.update(to_u8(self.x), real=True)
        metric.update(to_u8(fake), real=False)
        with torch.random.fork_rng():                                    # torchmetrics draws subsets from the global generator
            torch.manual_seed(0)
            return metric.compute()[0].item()


class _Hidden(nn.Module):
    """uint8 faces (B, C, S, S) -> a judge's hidden layer (B, features): what torchmetrics asks of a feature extractor."""

    def __init__(self, judge: BaselineCnn):
        super().__init__()
        self.judge = judge

    def forward(self, faces: Tensor) -> Tensor:
        return self.judge.features(to_unit(faces))
