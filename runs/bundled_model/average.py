"""The mean of the weights of two checkpoints, one trained from the other.

    python average.py BEFORE AFTER OUTPUT [--after PART]

What was learned last is kept in part, what was known before in part: between the two, models often
rank better than at either end, on texts of other kinds most (Wortsman et al. 2022,
https://arxiv.org/abs/2109.01903). OUTPUT is a folder of sentence-transformers with the settings of
AFTER.
"""

import argparse
from pathlib import Path

from sentence_transformers import MultiVectorEncoder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--after", dest="part", type=float, default=0.5, help="weight of AFTER")
    options = parser.parse_args()
    model = MultiVectorEncoder(str(options.after), device="cpu")
    before = MultiVectorEncoder(str(options.before), device="cpu").state_dict()
    mixed = {
        name: value.lerp(before[name].to(value), 1 - options.part)
        if value.is_floating_point()
        else value
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(mixed)
    model.save_pretrained(str(options.output), create_model_card=False)


if __name__ == "__main__":
    main()
