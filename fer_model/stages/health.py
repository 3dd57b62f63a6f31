"""Watch how stage 1 fares while it trains: judges score the synthesised faces, a sheet shows them.

In:  StageInputs, the trained judges among them; on ticks, a stage with a generator: `finished`, `codes(target)`, perhaps `own_identity`.
Out: Health, a Watcher: numbers for the log.

    number                      what it says
    both_right                  share of the synthesised faces G(x, I, z) that show both y^e of x and the target identity to the
                                judges: the one to watch
    both_right_seen, _unseen    the same over cells (target identity, y^e) that training has, and has not: only the second is transfer
    judged_expression           share that show y^e of x to the expression judge; with _seen, _unseen
    judged_identity             share that show the target identity to the identity judge; with _seen, _unseen
    source_identity             share that show the person of x to the identity judge
    d_identity                  share in which D's own identity output names the target. What it has more than judged_identity is a
                                texture that only D takes for the person
    both_right_real,            the same judges on real training faces that they have not learned from: what the shares above
    judged_expression_real,     could reach at best
    judged_identity_real
    code_effect                 how much a pixel changes with I, x and z staying: standard deviation over identities, in [-1, 1].
                                Near 0: G ignores the code, the known failure of DR-GAN's kind on small data
    input_effect                the same over inputs of different expressions, I and z staying
    noise_effect                the same over z, x and I staying
    kid_own                     kernel distance between real and synthesised faces in the expression judge's hidden layer
                                (torchmetrics; unbiased). Its features are the project's own: never comparable with KID on Inception's

A number without a face to be measured on is left out; so is, where people are unknown, whatever is about a person. Nothing here
takes part in training: no random number that training uses, no gradient, no state of G or D.
"""

import warnings

import torch
from torch import Tensor, nn

from fer_data.store.loader import to_u8, to_unit
from fer_model.engine.loop import due
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Stage
from fer_model.networks import BaselineCnn
from fer_model.stages.classifier import centre_inputs
from fer_model.stages.gan import draw_codes
from fer_model.stages.inputs import StageInputs
from fer_model.stages.judges import cells_seen, judged_real, verdicts
from fer_model.stages.sample_sheet import spread_over

__all__ = ["Health"]

N_CODES = 8                           # identities, inputs and noises over which the three effects are measured
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
        nobody = torch.full((len(faces),), -1, device=device)
        self.identity = fold.identity_labels(device)[faces.to(device)] if fold.identities else nobody
        target, noise = draw_codes(
            self.identity.cpu(), len(fold.identities), run.network.noise, "other", stream(run.seed, "health/codes")
        )
        self.target, self.noise = target.to(device), noise.to(device)    # (n,), (n, N_z)
        self.seen = cells_seen(fold)[target, self.expression.cpu()] if fold.identities else None           # (n,)
        self.real = judged_real(self.judges, fold, views, run)

    @torch.inference_mode()
    def on_tick(self, stage: Stage, step: int) -> dict[str, float]:
        """Return the numbers above, if it is time to."""
        if not due(stage, step, self.config.every_kimg):
            return {}
        generator, training = stage.finished, stage.finished.training
        generator.eval()
        fake = generator(self.x, stage.codes(self.target), self.noise)   # (n, C, S, S)
        effects = self._effects(stage)
        generator.train(training)
        found = verdicts(self.judges, fake).shares(self.expression, self.target, self.seen, self.identity)
        if hasattr(stage, "own_identity") and stage.fold.identities:
            found["d_identity"] = (stage.own_identity(fake) == self.target).float().mean().item()
        found |= {**self.real, **effects, "kid_own": self._kid(fake)}
        return {name: float(f"{value:.4g}") for name, value in found.items()}

    def on_end(self, stage: Stage) -> None:
        """Nothing: the last tick was looked at."""

    def _effects(self, stage: Stage) -> dict[str, float]:
        """Return the mean standard deviation of a pixel over identities, over inputs and over noises."""
        n_people = len(stage.fold.identities)
        n = min(N_CODES, len(self.x), n_people or N_CODES)
        rows = spread_over(len(self.x), n).to(self.x.device)
        f, decoder = stage.finished.encoder(self.x[rows]), stage.finished.decoder                    # (n, N_f)
        codes = stage.codes(self.target[rows])
        noisy = torch.stack([decoder(f, codes, z.expand(n, -1)) for z in self.noise[rows]])         # (noise, input, C, S, S)
        if not n_people:
            return {"input_effect": noisy.std(1).mean().item(), "noise_effect": noisy.std(0).mean().item()}
        people = spread_over(n_people, n).to(self.x.device)
        made = torch.stack([decoder(f, stage.codes(person.expand(n)), self.noise[:1].expand(n, -1)) for person in people])
        code, other, noise = (faces.std(0) for faces in (made, made.transpose(0, 1), noisy))        # made: (identity, input, C, S, S)
        return {"code_effect": code.mean().item(), "input_effect": other.mean().item(), "noise_effect": noise.mean().item()}

    def _kid(self, fake: Tensor) -> float:
        from torchmetrics.image.kid import KernelInceptionDistance  # a second to import

        size = min(KID_SUBSET_SIZE, len(fake))
        with warnings.catch_warnings():                                  # "will save all extracted features": a few hundred
            warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance`", category=UserWarning)
            metric = KernelInceptionDistance(_Hidden(self.judges["expression"]), subsets=KID_SUBSETS, subset_size=size)
        metric.update(to_u8(self.x), real=True)
        metric.update(to_u8(fake), real=False)
        with torch.random.fork_rng(devices=[]):                          # torchmetrics draws subsets from the CPU's global generator
            torch.default_generator.manual_seed(0)                       # those of GPUs stay as they are
            return metric.compute()[0].item()


class _Hidden(nn.Module):
    """uint8 faces (B, C, S, S) -> a judge's hidden layer (B, features): what torchmetrics asks of a feature extractor."""

    def __init__(self, judge: BaselineCnn):
        super().__init__()
        self.judge = judge

    def forward(self, faces: Tensor) -> Tensor:
        return self.judge.features(to_unit(faces))
