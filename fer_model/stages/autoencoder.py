"""Stage 1 without an adversary: an auto-encoder whose targets are real faces of its own person and of others.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved; the trained critics.
Out: AutoencoderStage, for engine.loop.run_stage; its weights are encoder and decoder, used as those of DE-GAN are.

    role of a sample    I names                         target
    own                 x's person                      x itself
    seen                anybody who shows y^e           that person's face with y^e, in the view of x
    any                 any training person             none: the expression critic's last layers as they see x, the person critic's
                                                        as they see a face of that person, in the view of x

Every fourth sample is `own`, every fourth `seen`, the others `any`; several processes must have whole fours of the batch.

DE-GAN asks D, which learns beside G, what a face shows. D's identity output is never trained on synthesised faces (eq. 1), so G learns
a texture which D takes for the person. Here nothing that G can please is trained beside it, and what is asked for is layers, not answers.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.data.augment import draw_changes, strengthen
from fer_model.data.batches import Batches
from fer_model.data.fold import Fold
from fer_model.engine import distributed
from fer_model.engine.kept import Average
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.losses import feature_difference, pixel_difference
from fer_model.networks import BaselineCnn, ConditionalDecoder, Encoder, Generator, Norm1d, build, one_hot
from fer_model.stages.classifier import view_inputs
from fer_model.stages.critics import Critics
from fer_model.stages.inputs import FoldStage, StageInputs

__all__ = ["AutoencoderStage", "Partners", "Samples"]

OWN, SEEN = 0, 1                      # roles: the sample's place in the batch, modulo 4; 2 and 3: any
SEEN_WEIGHT = 0.5                     # of the pixels of `seen`: another person's take of y^e differs in more than the person
LAST_LAYERS = -2                      # of a critic, from here on: its last block and its hidden layer


class Samples(NamedTuple):
    """The samples of a step: what is shown, who is asked for, what it is compared with. All int64 (B,), on the CPU."""

    faces: Tensor                     # x
    k: Tensor                         # views
    target: Tensor                    # I
    partner: Tensor                   # a face of the person asked for: the target, where there is one


class Partners:
    """Draws people and faces to compare with: functions of the fold and of the random numbers given."""

    def __init__(self, fold: Fold):
        cpu = torch.device("cpu")
        self.n_people, self.n_classes = len(fold.identities), len(fold.classes)
        self.expression, self.identity = fold.expression_labels(cpu), fold.identity_labels(cpu)      # (n,) each
        cell = self.identity * self.n_classes + self.expression                                      # (n,)
        cells = cell.unique()                                                                        # (c,) those that training has
        self.people = _Groups(cells % self.n_classes, self.n_classes, cells // self.n_classes)       # expression -> people
        self.of_cell = _Groups(cell, self.n_people * self.n_classes)                                 # cell -> faces
        self.of_person = _Groups(self.identity, self.n_people)                                       # person -> faces

    def draw(self, faces: Tensor, k: Tensor, generator: torch.Generator) -> Samples:
        """Return the samples of a batch, faces (B,) and views (B,), by role."""
        role = torch.arange(len(faces)) % 4
        u = torch.rand(2, len(faces), generator=generator)
        expression, own = self.expression[faces], self.identity[faces]
        anybody = (u[0] * self.n_people).long().clamp(max=self.n_people - 1)
        target = torch.where(role == OWN, own, torch.where(role == SEEN, self.people.pick(expression, u[0]), anybody))
        alike = self.of_cell.pick(torch.where(role == SEEN, target, own) * self.n_classes + expression, u[1])        # never an empty cell
        partner = torch.where(role == OWN, faces, torch.where(role == SEEN, alike, self.of_person.pick(target, u[1])))
        return Samples(faces, k, target, partner)


class _Groups:
    """Items by group: one of a group is picked by a number in [0, 1)."""

    def __init__(self, group: Tensor, n_groups: int, items: Tensor | None = None):
        """`group` (m,) of each item; `items` (m,), None: their places 0 .. m - 1."""
        order = group.argsort(stable=True)
        self.items = order if items is None else items[order]
        self.counts = torch.bincount(group, minlength=n_groups)
        self.starts = self.counts.cumsum(0) - self.counts

    def pick(self, group: Tensor, u: Tensor) -> Tensor:
        """Return one item of each group (B,), none of them empty; `u` (B,) in [0, 1)."""
        place = torch.minimum((u * self.counts[group]).long(), self.counts[group] - 1)
        return self.items[self.starts[group] + place]


class _Autoencoder(nn.Module):
    """G, and the linear classifier on f(x), which is not used after training."""

    def __init__(self, generator: Generator, representation: int, n_classes: int):
        super().__init__()
        self.generator = generator
        self.norm = Norm1d(representation, affine=False)
        self.expression = nn.Linear(representation, n_classes)

    def forward(self, x: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, S, S), code (B, N_i) -> faces (B, C, S, S), logits (B, N_e) of f(x)."""
        f = self.generator.encoder(x)                                    # (B, N_f)
        return self.generator.decoder(f, code), self.expression(self.norm(f)).float()


class AutoencoderStage(FoldStage):
    """One learner, no adversary: pixels and critics' layers, by role."""

    name = "ae"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, fold, device = inputs.config, inputs.fold, inputs.device
        net, n_classes, n_people = config.network, len(fold.classes), len(fold.identities)
        self.critics = Critics(inputs.trained["critics"])
        self.batches = Batches(self.views.n_faces, self.config.batch, config.seed, self.name)
        self.partners, self.expression = Partners(fold), fold.expression_labels(device)

        def make() -> nn.Module:
            generator = Generator(Encoder(net), ConditionalDecoder(net, config.ae.embedding, n_people))
            return _Autoencoder(generator, net.representation, n_classes)

        network = build(make, device, net.init_std, stream(config.seed, "init/ae")).train()
        self.learners = {"autoencoder": Learner(network, config.ae, self.steps)}
        self.average = Average(network, config.ae) if config.ae.average_half_kimg else None
        role = torch.arange(self.config.batch // distributed.size()) % 4         # (B,) of this process's samples, in every batch
        aimed = role <= SEEN                                             # (B,) the partner is the target
        self.aimed, self.weight = aimed.to(device), torch.where(role[aimed] == SEEN, SEEN_WEIGHT, 1.0).to(device)    # (B,), (n,)
        self.at, self.free = (which.nonzero()[:, 0].to(device) for which in (aimed, ~aimed))       # (n,), (B - n,) places in the batch

    def draw(self, step: int) -> dict[str, Tensor]:
        drawn = self.partners.draw(*self.batches.at(step), stream(self.run.seed, "ae/partners", step))
        changes = draw_changes(len(drawn.faces), self.run.critics.stronger_views, stream(self.run.seed, "ae/views", step))
        return {**drawn._asdict(), "changes": changes}

    def kind(self, step: int) -> int:
        """Return the number of the critics whose turn it is."""
        return step % self.critics.n_pairs

    def compute(self, drawn: Mapping[str, Tensor], kind: int) -> dict[str, Tensor]:
        learner, size = self.learners["autoencoder"], self.run.network.image_size
        x, partner = (view_inputs(self.views, drawn[name], drawn["k"], size) for name in ("faces", "partner"))       # (B, C, S, S)
        with self.autocast():
            made, logits = learner.network(x, self.codes(drawn["target"]))                              # (B, C, S, S), (B, N_e)
        compared = self._compared(self.critics.pair(kind), x, partner, made, drawn["changes"])
        losses = {name: weight * loss for name, (weight, loss) in compared.items()}
        losses["ae_expression"] = self.config.expression * F.cross_entropy(logits, self.expression[drawn["faces"]])
        total = sum(losses.values())
        learner.descend(total)
        return {"ae": total} | losses

    def _compared(
        self, critics: tuple[BaselineCnn, BaselineCnn], x: Tensor, partner: Tensor, made: Tensor, changes: Tensor
    ) -> dict[str, tuple[float, Tensor]]:
        """Return weight and value of what is compared with real faces; all are shown to the critics with the same `changes`."""
        pixels = (self.weight * pixel_difference(made[self.at], partner[self.at])).mean()
        shows_y = torch.where(self.aimed[:, None, None, None], partner, x)       # (B, C, S, S) shows y^e
        made, shows_y, partner = (strengthen(faces, self.run.critics.stronger_views, changes) for faces in (made, shows_y, partner))
        whole, last = 0, 0
        for critic, real in zip(critics, (shows_y, partner), strict=True):
            with self.autocast():
                seen = critic.scales(made)                               # layers of (B, ...)
                with torch.no_grad():
                    wanted = critic.scales(real)
            whole = whole + feature_difference(*(_rows(layers, self.at) for layers in (seen, wanted)))
            last = last + feature_difference(*(_rows(layers[LAST_LAYERS:], self.free) for layers in (seen, wanted)))
        return {
            "ae_pixels": (self.config.pixels, pixels), "ae_features": (self.config.features, whole / 2),
            "ae_exchange": (self.config.exchange, last / 2),
        }

    @property
    def finished(self) -> Generator:
        """G as it is used after training: its average, if one is kept."""
        return (self.learners["autoencoder"].network if self.average is None else self.average.network).generator

    def codes(self, target: Tensor) -> Tensor:
        """Return I (B, N_i), one-hot, for identities (B,)."""
        return one_hot(target, len(self.fold.identities))

    def samples(self, step: int) -> list[str]:
        return self.batches.names_at(step, self.fold.train["image_id"])

    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.finished.encoder, "decoder": self.finished.decoder}


def _rows(layers: Sequence[Tensor], which: Tensor) -> list[Tensor]:
    return [layer[which].float() for layer in layers]
