"""Stage 1, DE-GAN: training faces in, an encoder that knows expression and a decoder that adds identity out.

In:  StageInputs: a Fold, its Views, a TrainConfig whose budgets are resolved.
Out: GanStage, for engine.loop.run_stage; its weights are encoder, decoder and discriminator.

    code                        paper, section 3.1
    generator                   G: encoder G_en, decoder G_de; fake = G(x, I, z)
    discriminator               D = [D^e, D^i]
    codes                       I, one-hot over the N_i training identities of the fold
    noise                       z ~ U(-1, 1)^{N_z} (open)
    target                      y^id2, the target identity: the one that I codes

Where people are unknown (pre-training alone), nobody can be named and nobody asked for. Then N_i is 0: D has no D^i, both equations lose
their identity term, and G(x, z) is given no code. What is left is a GAN of expressions: f(x) must hold the expression, as D asks for
it in every fake; nothing takes the person out of f(x). No stand-in for people is made up (pictures as people, clusters): D would learn
to tell pictures apart, which is the opposite of what the identity output is for.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from fer_model.data.batches import Batches
from fer_model.engine.kept import Average
from fer_model.engine.randomness import stream
from fer_model.engine.stage import Learner
from fer_model.losses import DiscriminatorLoss, GeneratorLoss, discriminator_loss, generator_loss
from fer_model.networks import Decoder, Discriminator, Encoder, Generator, build, one_hot, spectral, to_input_size
from fer_model.stages.inputs import FoldStage, StageInputs

__all__ = ["PHASES", "GanStage", "Phase", "at_rest", "draw_codes"]


@dataclass(frozen=True)
class Phase:
    """One part of a step: which network moves, and why."""

    name: str
    trains: str                       # the learner that moves
    intent: str


# In this order within a step. The interval of D is the schedule's, that of G is 1.
PHASES = (
    Phase("D", "discriminator", "eq. (1): name expression and person of real faces, call synthesised ones fake"),
    Phase("G", "generator", "eq. (2): have D name the input's expression and the code's person"),
)


class GanBatch(NamedTuple):
    """What both phases of a step work on."""

    x: Tensor                         # (B, C, S, S) real faces
    fake: Tensor                      # (B, C, S, S) G(x, I, z), with its graph
    expression: Tensor                # (B,) y^e
    identity: Tensor                  # (B,) y^id
    target: Tensor                    # (B,) y^id2


@contextmanager
def at_rest(network: nn.Module):
    """Keep the state of a network (BN statistics, power iteration) still while it computes as in training."""
    still = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    iterating = [m for m in network.modules() if isinstance(m, ParametrizationList) and m.training]
    for norm in still:
        norm.track_running_stats = False                                 # batch statistics, running ones not touched
    for norm in iterating:
        norm.eval()
    try:
        yield
    finally:
        for norm in iterating:
            norm.train()
        for norm in still:
            norm.track_running_stats = True


def draw_codes(
    identity: Tensor,                 # (B,) int64, y^id of the whole batch of all processes
    n_identities: int,                # 0: people unknown, the targets are those of `identity`
    n_noise: int,
    targets: str,                     # other: any identity but the input's own; any; own
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the target identities (B,) int64 and the noise (B, N_z) float32 in [-1, 1), both on the CPU."""
    n = len(identity)
    if not n_identities or targets == "own":
        target = identity.clone()
    elif targets == "other":
        target = torch.randint(n_identities - 1, (n,), generator=generator)
        target = target + (target >= identity)                           # uniform over all but the own one
    else:
        target = torch.randint(n_identities, (n,), generator=generator)
    return target, torch.rand(n, n_noise, generator=generator) * 2 - 1


class GanStage(FoldStage):
    """The two phases of DE-GAN and the schedule between them."""

    name = "gan"

    def __init__(self, inputs: StageInputs):
        super().__init__(inputs)
        config, fold, device = inputs.config, inputs.fold, inputs.device
        net, n_identities = config.network, len(fold.identities)
        self.batches = Batches(self.views.n_faces, config.gan.batch, config.seed, self.name)
        self.expression = fold.expression_labels(device)                 # (n,) y^e
        nobody = torch.full((len(fold.train),), -1)
        self.identity_cpu = fold.identity_labels(torch.device("cpu")) if n_identities else nobody          # (n,) y^id; -1: unknown
        self.identity = self.identity_cpu.to(device)
        made = {
            "generator": lambda: Generator(Encoder(net), Decoder(net, n_identities)),
            "discriminator": lambda: Discriminator(net, len(fold.classes), n_identities),
        }
        self.learners = {}
        for name, make in made.items():
            normed = name == "discriminator" and net.d_spectral_norm
            finish = partial(spectral, generator=stream(config.seed, "init/spectral")) if normed else nn.Identity()
            network = build(make, device, net.init_std, stream(config.seed, f"init/{name}"), finish)
            self.learners[name] = Learner(network, config.gan, self.steps)
        self.generator = self.learners["generator"].network.train()
        self.discriminator = self.learners["discriminator"].network.train()
        self.average = Average(self.generator, config.gan) if config.gan.average_half_kimg else None
        self.judged = ("real_expression", *(["real_identity"] if n_identities else []), "fake")
        self.accuracy = torch.zeros(len(self.judged), device=device)     # running, of D on what `judged` names
        self.intervals = {"D": config.gan.d_interval, "G": 1}            # steps from one run of a phase to the next

    def draw(self, step: int) -> dict[str, Tensor]:
        faces, k = self.batches.at(step)                                 # (B,), (B,)
        target, noise = draw_codes(
            self.identity_cpu[faces], len(self.fold.identities), self.run.network.noise, self.config.targets,
            stream(self.run.seed, "gan/codes", step),
        )
        return {"faces": faces, "k": k, "target": target, "noise": noise}

    def kind(self, step: int) -> tuple[Phase, ...]:
        return tuple(phase for phase in PHASES if step % self.intervals[phase.name] == 0)

    def compute(self, drawn: Mapping[str, Tensor], kind: tuple[Phase, ...]) -> dict[str, Tensor]:
        faces, target = drawn["faces"], drawn["target"]                  # (B,), (B,)
        x = to_input_size(self.views.batch(faces, drawn["k"]), self.run.network.image_size)   # (B, C, S, S)
        # G does not move before its own phase, so the fakes that D learns from are those that G is judged by.
        with self.autocast():
            fake = self.generator(x, self.codes(target), drawn["noise"])                      # (B, C, S, S)
        batch = GanBatch(x, fake, self.expression[faces], self.identity[faces], target)
        losses: dict[str, Tensor] = {}
        for phase in kind:
            losses |= self._phase(phase, batch)
        return losses

    @property
    def finished(self) -> Generator:
        """G as it is used after training: its average, if one is kept."""
        return self.generator if self.average is None else self.average.network

    def _phase(self, phase: Phase, batch: GanBatch) -> dict[str, Tensor]:
        """Descend on the phase's loss, moving its network alone; return its losses by name."""
        losses = []

        def each() -> Iterator[Tensor]:
            for loss in self._discriminator(batch) if phase.name == "D" else self._generator(batch):
                losses.append(loss)
                yield loss.total

        self.learners[phase.trains].descend(each())
        parts = {name: value for loss in losses for name, value in loss._asdict().items() if name != "total" and value is not None}
        return {phase.name: sum(loss.total for loss in losses)} | {f"{phase.name}_{name}": value for name, value in parts.items()}

    def _discriminator(self, batch: GanBatch) -> Iterator[DiscriminatorLoss]:
        """Give the terms of real faces, then that of fakes: what D keeps of the first for its gradient is freed before the second."""
        labels = batch.expression, batch.identity, self.config.d_label_smoothing
        real_e, real_i = self._judge(batch.x)
        yield discriminator_loss(real_e, real_i, None, *labels)
        fake_e, _ = self._judge(batch.fake.detach())
        yield discriminator_loss(None, None, fake_e, *labels)
        with torch.no_grad():
            fake_class = len(self.fold.classes)
            named = [] if real_i is None else [real_i.argmax(1) == batch.identity]
            right = [real_e.argmax(1) == batch.expression, *named, fake_e.argmax(1) == fake_class]
            now = torch.stack(right).float().mean(1)                     # as `judged`
            self.accuracy.lerp_(now, 1 - self.config.d_memory)

    def _generator(self, batch: GanBatch) -> Iterator[GeneratorLoss]:
        with at_rest(self.discriminator):
            fake_e, fake_i = self._judge(batch.fake)
        yield generator_loss(fake_e, fake_i, batch.expression, batch.target)

    def _judge(self, faces: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return D's logits (B, N_e + 1), (B, N_i) of faces that are all real or all synthesised; the second None: people unknown.

        BN sees one kind at a time. In a batch of both, early fakes, which are noise, fill the batch's variance and press
        the real faces together: after 150 steps D named 27 % of the expressions and 16 % of the people, against 64 % and 47 %.
        """
        with self.autocast():
            return self.discriminator(faces)

    def codes(self, target: Tensor) -> Tensor:
        """Return I (B, N_i), one-hot, for identities (B,); the decoder scales it by network.code_scale."""
        n_identities = len(self.fold.identities)
        return one_hot(target, n_identities) if n_identities else torch.zeros(len(target), 0, device=target.device)

    @torch.inference_mode()
    def own_identity(self, faces: Tensor) -> Tensor:
        """Return whom D names in synthesised faces (B, C, S, S), normalised as one batch as in training: (B,) int64."""
        with at_rest(self.discriminator):
            return self._judge(faces)[1].argmax(1)

    def review(self, step: int) -> dict[str, float]:
        """Read D's running accuracies; from now on train D less often if it is strong, as before if it is not."""
        accuracies = self.accuracy.tolist()
        strong = sum(accuracies) / len(accuracies) > self.config.d_strong_above
        self.intervals["D"] = self.config.d_interval_strong if strong else self.config.d_interval
        each = {f"accuracy_{name}": round(share, 4) for name, share in zip(self.judged, accuracies, strict=True)}
        return {**each, "interval_D": self.intervals["D"]}

    def samples(self, step: int) -> list[str]:
        return self.batches.names_at(step, self.fold.train["image_id"])

    def facts(self) -> dict:
        return {"intervals": self.intervals}

    def restore_facts(self, facts: dict) -> None:
        self.intervals = dict(facts["intervals"])

    def buffers(self) -> dict[str, Tensor]:
        return {"accuracy": self.accuracy} | super().buffers()

    def networks(self) -> dict[str, nn.Module]:
        parts = {"encoder": self.finished.encoder, "decoder": self.finished.decoder}
        return parts | {"discriminator": self.discriminator}
