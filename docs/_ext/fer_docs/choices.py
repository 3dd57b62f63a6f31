"""What the paper leaves open, and why we chose as we did: the fields of fer_model/config.py in, Markdown tables out.

In:  the dataclasses of fer_model.config with their comments; WHY below.
Out: table_of(class): one row a field: its value in the presets SHOWN, its comment, our reason. No Sphinx here.

A field whose comment says "open" needs a reason in WHY, and WHY names no field that is gone: tests/test_docs.py checks both.
"""

from fer_data.field_comments import fields_of
from fer_model import config

__all__ = ["SHOWN", "STAGES", "WHY", "needs_a_reason", "table_of"]

SHOWN = ("paper", "small", "strong")    # presets, a column each
# attribute of TrainConfig ("": itself) -> its dataclass
STAGES = {
    "": config.TrainConfig, "network": config.NetworkConfig, "gan": config.GanConfig, "head": config.HeadConfig,
    "cnn": config.CnnConfig, "judges": config.JudgesConfig, "iacnn": config.IacnnConfig,
    "neutral": config.NeutralConfig,
}

# stage.field -> why. Short: what else we could have done, or what we saw.
WHY = {
    "network.channels": "Most frames of CK+ are grey. `fer-data prepare --colour rgb` gives 3.",
    "network.noise": "The paper names N_z and gives no number. Every public port of DR-GAN, its closest relative, uses 50.",
    "network.code_scale": "Preset `small` uses 10, because its training is too short for G to discover I by itself.",
    "network.d_without_norm": "DR-GAN's D, whose trunk this is, has BN in each layer.",
    "network.init_std": "Scales drawn from N(0, 0.02) would make the output of every layer almost 0.",
    "gan.betas": "The paper gives one number. 0.999 is what every port of DR-GAN takes, and Adam's own default.",
    "gan.targets": "The paper says \"a different identity\". With x's own, G could copy its input.",
    "gan.d_interval_strong": "The paper says \"G is updated more frequently than D\" and gives no ratio.",
    "gan.d_strong_above": "The paper says \"when D reaches to near optimal solution\" and gives no measure.",
    "gan.d_memory": "About ten batches of D: one lucky batch does not change the schedule.",
    "head.betas": "As in stage 1.",
    "head.taps": "One tap at each scale, so that each local CNN sees something different. The paper's figures do not name the layers.",
    "head.local_channels": "The paper shows \"local CNN\" as a box. The same blocks as the baseline's make the two comparable.",
    "head.local_features": "The four of them together (512) and f(x) (350) are then of the same order.",
    "head.dropout": "The paper names none. Preset `small` uses 0.5, as its baseline does.",
    "head.label_smoothing": "The paper names none. Preset `small` uses 0.1, as its baseline does.",
    "head.local_dropout": "The paper names none.",
    "head.prediction": "L5 is the only output that sees everything. The paper does not say which one predicts.",
    "head.mlp_features": "As FC_i.",
    "head.svm_c": "scikit-learn's default.",
    "head.svm_views": "All 110 take eleven times as long to fit.",
    "cnn.channels": "A plain VGG-like CNN of this width reached about 91 % on real CK+ faces, above the paper's own baseline (90.34 %).",
    "cnn.features": "As for `channels`.",
    "cnn.dropout": "Usual for a hidden layer before the softmax.",
    "cnn.label_smoothing": "The paper names none. Preset `small` uses 0.1, as its head does.",
    "cnn.betas": "As in stage 1.",
    "judges.betas": "Not part of the method.",
    "neutral.betas": "As DE-GAN's.",
    "neutral.epochs": "As DE-GAN's, which seems to have its second stage from DeRL; it does not say so.",
    "neutral.pixels": "The usual weight in conditional GANs on pairs of pictures (Isola et al., CVPR 2017).",
    "iacnn.betas": "As the baseline's.",
    "iacnn.label_smoothing": "As the baseline's.",
    "iacnn.channels": "The baseline's convolutions, so that the comparison is of the losses.",
    "iacnn.features": "As the baseline's.",
    "iacnn.dropout": "As the baseline's.",
    "iacnn.branch": "Both branches together are as long as the baseline's hidden layer.",
    "iacnn.margin": "Distances start far below it. Not tuned.",
    "iacnn.contrast_expression": (
        "At 1 the softmax learned little. Of 0.01, 0.1 and 1 it was the best on people set aside in folds 0 to 2, who are tested in others."
    ),
    "iacnn.contrast_identity": "As for `contrast_expression`.",
    "iacnn.softmax_expression": "Both softmaxes count alike. Not tuned.",
    "iacnn.same_person": "Two random faces show one person in a hundredth of the cases: the loss would see hardly a pair that is the same.",
    "iacnn.same_expression": "As for `same_person`; half of the pairs are any two faces.",
}


def needs_a_reason() -> list[str]:
    """Return stage.field of every field that the paper leaves open by its own comment."""
    return [
        f"{stage}.{one.name}" for stage, kind in STAGES.items() if stage
        for one in fields_of(kind) if "open" in one.comment.replace(":", " ").replace(",", " ").split()
    ]


def table_of(stage: str) -> str:
    """Return the Markdown table of a stage; "" stands for the run itself."""
    columns = [getattr(config.PRESETS[name], stage) if stage else config.PRESETS[name] for name in SHOWN]
    lines = [f"| setting | {' | '.join(SHOWN)} | what it is, and why |", "|---" * (len(SHOWN) + 2) + "|"]
    for one in fields_of(STAGES[stage]):
        if not stage and one.name in STAGES:
            continue
        why = WHY.get(f"{stage}.{one.name}", "")
        text = _escaped(one.comment) + (f"<br>*Why:* {why}" if why else "")
        values = " | ".join(_value(getattr(column, one.name)) for column in columns)
        lines.append(f"| `{one.name}` | {values} | {text} |")
    return "\n".join(lines)


def _value(value) -> str:
    """Return a value as a reader writes it."""
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return " ".join(f"`{item}`" for item in value) or "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is, backticks kept."""
    for mark in "\\*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text
