"""What the warnings of `robustgames attack` mean, and what to do about each."""

from __future__ import annotations

import re
from typing import NamedTuple


class Advice(NamedTuple):
    """The meaning of a warning, and what to do."""

    meaning: str
    to_do: str


OTHER = Advice(
    "The evaluation noticed something unusual.", "Read the message, and do not quote these figures before it is clear."
)
UNFINISHED = Advice(
    "The evaluation ended early. Images on which not every attack was tried count as robust, so the robust accuracy is "
    "too high.",
    "Run the command again until it ends. If that takes too long, use fewer --images.",
)
CONTRADICTED = Advice(
    "A certificate proves that no input of the ball is misclassified, and an attack found one. One of both is wrong.",
    "Do not use these figures, and report the fault with attack.json.",
)

_ADVICE = {
    ", without gradients, fooled": Advice(
        "An attack that only looks at the logits succeeded where attacks with gradients failed. The gradients may "
        "mislead (gradient masking), and the robust accuracy is probably too high.",
        "Add attacks, e.g. --attack plus, and write an attack that is made for this defense.",
    ),
    "perturbations found on .* fool": Advice(
        "Perturbations of another network succeeded where the attacks on this one failed. Its gradients may mislead "
        "(gradient masking), and the robust accuracy is too high.",
        "Add attacks, e.g. --attack plus, and write an attack that is made for this defense.",
    ),
    "left the ball or the box": Advice(
        "An attack returned perturbations that are larger than eps, or inputs outside of their bounds. They count as "
        "robust, and the attacks after it were tried on them.",
        "Nothing, if other attacks ran as well. Otherwise use another attack: this one does not keep to this ball.",
    ),
    "did not fit into the memory": Advice(
        "Fewer inputs passed through the network together, which changes no result but takes longer.",
        "Nothing, or give the --batch that is named.",
    ),
    "shipped images are out of": Advice(
        "The classifier was trained on the images on which it was attacked, so its accuracies are too high.",
        "Attack test images: --data with the folder of the four IDX files, or --data openml.",
    ),
    "returns probabilities": Advice(
        "A softmax saturates, so its gradients vanish and attacks stop. The robust accuracy is probably too high.",
        "Return the logits, without the softmax, and attack again.",
    ),
    "takes gradients when it predicts|gradients are masked": Advice(
        "The defense changes itself or its gradients while it predicts. General attacks do not take that into account.",
        "Write an attack that is made for this defense (an adaptive attack).",
    ),
    "from pass to pass": Advice(
        "The classifier is stochastic: the same image can be right in one pass and wrong in the next. Counts of single "
        "passes are luck.",
        "Attack means over passes, --attack rand or --eot 20.",
    ),
    "gradient of .* is NaN": Advice(
        "Gradients that are not numbers do not move an image, so these images were hardly attacked.",
        "Look for a square root, a logarithm or a division at 0 in the model.",
    ),
    "no gradient": Advice(
        "Attacks with gradients cannot move these images, so the robust accuracy is too high for them.",
        "Look for rounding or saturation in the model, and add an attack without gradients, --attack autoattack "
        "or square.",
    ),
    "more steps must not be weaker": Advice(
        "A longer attack contains the shorter one. If it is weaker, its gradients mislead it.",
        "Do not trust attacks with gradients on this model alone; add square.",
    ),
    "catastrophic overfitting": Advice(
        "The classifier resists a single large step, and fails under several small ones: it has learned to hide from "
        "the attack of its training.",
        "Train against several steps, adversarial_training with --inner-steps 5 or more.",
    ),
    "covers the box": Advice(
        "The ball contains every possible input, so a robust accuracy above chance cannot be true.",
        "Give eps in the units of the inputs, e.g. --eps 0.031 for 8 of 255 levels.",
    ),
    "judged again": Advice(
        "Some examples did not pass the last check, and count as robust.",
        "Attack with --precision float32, or in float64 if logits are very close to each other.",
    ),
    "raises the margin instead": Advice(
        "The loss of this attack is not defined for so few classes, so the attack raises the margin.",
        "Nothing needs to be done.",
    ),
    "training mode": Advice(
        "Dropout and BatchNorm act differently in training. The model was attacked as it predicts.",
        "Call model.eval() in the function that returns the model.",
    ),
    "examples of the first": Advice(
        "All images were attacked, and the figures are of all of them. The files and pictures are of the first ones.",
        "Nothing, or give --save-examples to save more.",
    ),
    "each feature is bounded": Advice(
        "A perturbed row stays inside the values that occur in the data. An attacker who may leave them is stronger.",
        "Give --bounds if other values are possible.",
    ),
    "in the order of words": Advice(
        "The names of the classes are numbers, and their order as words is another one: class 2 of the network may be "
        "the folder or label 10.",
        "Compare the numbers with those of the training, or list the network's own, --labels 0,1,10,2.",
    ),
    "the data have .* classes and the network": Advice(
        "The network may have other numbers for the classes of the data. Labels that do not fit look like mistakes.",
        "If the clean accuracy is low, list the network's numbers of the classes, --labels 243,559.",
    ),
    "has diverged": Advice(
        "The weights of this run are not finite, and it is missing in all means.",
        "Train again with a smaller learning rate, e.g. --lr 0.001.",
    ),
}


def advice_for(message: str) -> Advice:
    """Return the meaning of a warning.

    Example:
        >>> advice_for("the model returns probabilities, whose gradients vanish: remove its softmax").to_do
        'Return the logits, without the softmax, and attack again.'
    """
    return next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, message)), OTHER)
