"""The commands, by the module behind `python -m ablation.`: what each does, in a line.

Each is a script, too, with dashes: ablation-more-seeds.
"""

COMMANDS = {
    "train": "train one run, or with -m sweep many: +section=norm seed=0,1,2",
    "report": "the report of the runs: a page, tables, figures and a write-up",
    "data": "check images before any training, and clean what was decoded of them",
    "predict": "label images with the net of a finished run",
    "verify": "train a run again and compare everything it left behind",
    "robustness": "do the conclusions survive another learning rate, or another budget?",
    "more_seeds": "train the seeds that open comparisons need",
    "completion": "completion of these commands in bash, zsh and fish",
}
