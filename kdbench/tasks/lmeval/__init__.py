"""lm-eval's tasks read, built and scored for `kdbench.tasks.reasoning`.

`index`, `yamls`, `members`, `metrics`, `generation`, `data` and `hub` are light: they read YAML
files and never import lm-eval. `documents`, `scoring` and `own` drive lm-eval's own task objects
inside the worker.
"""
