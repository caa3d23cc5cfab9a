"""Every mistake in a suite is told once, at its line and column, with what to do about it.

Each case edits one place of a suite that is right, so any further message would show.
"""

# ruff: noqa: E501, F401, F811 - a table of messages reads best unbroken; fixtures are imported

from __future__ import annotations

from collections.abc import Callable

import pytest
from suite_fakes import GOOD, load, only_fakes, told

Told = Callable[[str | bytes], list[str]]

# fmt: off
TYPES = [
    ("limit: 100", "limit: ten", "27:10: settings.limit: expected a whole number, got 'ten'"),
    (
        "limit: 100",
        'limit: "10"',
        "27:10: settings.limit: expected a whole number, got '10'; write 10 without quotes",
    ),
    ("limit: 100", "limit: yes", "27:10: settings.limit: expected a whole number, got 'yes'"),
    ("limit: 100", "limit: true", "27:10: settings.limit: expected a whole number, got true"),
    ("limit: 100", "limit: 1e3", "27:10: settings.limit: expected a whole number, got 1e3; write 1000"),
    ("limit: 100", "limit: 1_000", "27:10: settings.limit: expected a whole number, got '1_000'; write 1000"),
    ("limit: 100", "limit: 0", "27:10: settings.limit: must be at least 1, got 0"),
    ("limit: 100", "limit: .inf", "27:10: settings.limit: expected a whole number, got .inf"),
    (
        "limit: 100",
        f"limit: {10**30}",
        f"27:10: settings.limit: must be at most {2**63 - 1}, got {10**30}",
    ),
    ("limit: 100", "limit: [1]", "27:10: settings.limit: expected a whole number, got a list"),
    ("limit: 200", "limit: 2.5", "23:12: tasks[1].limit: expected a whole number, got 2.5"),
    ("seed: 7", "seed: -1", "28:9: settings.seed: must be at least 0, got -1"),
    ("seed: 7", "seed:", "28:8: settings.seed: expected a whole number, got nothing"),
    (
        "dtype: bfloat16",
        "dtype: bf16",
        "29:10: settings.dtype: expected 'auto', 'float32', 'bfloat16', 'float16' or 'float64', "
        "got 'bf16' (did you mean 'bfloat16'?)",
    ),
    (
        "device: cuda:1",
        "device: GPU 1",
        "30:11: settings.device: 'GPU 1' is no device; write auto, cpu, cuda, cuda:1, mps, ...",
    ),
    (
        "batch_size: 16",
        "batch_size: ten",
        "31:15: settings.batch_size: expected 'auto' or a whole number, got 'ten'",
    ),
    (
        "batch_size: 16",
        "batch_size: atuo",
        "31:15: settings.batch_size: expected 'auto' or a whole number, got 'atuo' "
        "(did you mean 'auto'?)",
    ),
    ("batch_size: 16", "batch_size: 0", "31:15: settings.batch_size: must be at least 1, got 0"),
    (
        "confidence: 0.9\n",
        "confidence: 95\n",
        "32:15: settings.confidence: must be more than 0 and less than 1, got 95; write 0.95",
    ),
    (
        "confidence: 0.9\n",
        "confidence: 95 %\n",
        "32:15: settings.confidence: expected a number, got '95 %'; write 0.95",
    ),
    ("workers: 2", "workers: 5000", "33:12: settings.workers: must be at most 1024, got 5000"),
    ("results: out", "results: 5", "34:12: settings.results: expected text, got 5; put it in quotes: '5'"),
    (
        "trust_remote_code: true",
        "trust_remote_code: yes",
        "5:82: models.small.trust_remote_code: expected true or false, got 'yes'; write true",
    ),
    (
        "trust_remote_code: true",
        "trust_remote_code: 0",
        "5:82: models.small.trust_remote_code: expected true or false, got 0; write false",
    ),
    (
        "name: good",
        "name: Good Suite",
        "1:7: name: 'Good Suite' can't be a suite's name: use a-z, 0-9, '.', '_' and '-' "
        "(100 at most), and begin with a letter or digit",
    ),
    ("about: every section and every form", "about: [a]", "2:8: about: expected text, got a list"),
]

KEYS = [
    ("limit: 100", "limt: 100", "27:3: settings: unknown key 'limt' (did you mean 'limit'?)"),
    ("models:", "modls:", "3:1: unknown key 'modls' (did you mean 'models'?)"),
    ("pairs:", "pars:", "12:1: unknown key 'pars' (did you mean 'pairs'?)"),
    ("tasks:", "taks:", "18:1: unknown key 'taks' (did you mean 'tasks'?)"),
    ("adapter:", "adaptr:", "8:5: models.served: unknown key 'adaptr' (did you mean 'adapter'?)"),
    ("base_url:", "bas_url:", "9:5: models.served: unknown key 'bas_url' (did you mean 'base_url'?)"),
    ("device: cpu", "devise: cpu", "11:5: models.served: unknown key 'devise' (did you mean 'device'?)"),
    ("teacher: big, s", "techer: big, s", "13:6: pairs[0]: unknown key 'techer' (did you mean 'teacher'?)"),
    ("student: small", "studet: small", "13:20: pairs[0]: unknown key 'studet' (did you mean 'student'?)"),
    ("students:", "studets:", "16:5: pairs[1]: unknown key 'studets' (did you mean 'students'?)"),
    ("  - task: quiz\n", "  - tsk: quiz\n", "20:5: tasks[1]: unknown key 'tsk' (did you mean 'task'?)"),
    ("lm_eval: arc", "lm_evl: arc", "21:5: tasks[1]: unknown key 'lm_evl' (did you mean 'lm_eval'?)"),
    ("limit: 200", "limti: 200", "23:5: tasks[1]: unknown key 'limti' (did you mean 'limit'?)"),
    ("metric: acc", "mtric: acc", "37:6: gates[1]: unknown key 'mtric' (did you mean 'metric'?)"),
    ("speedup, min", "speedup, m1n", "38:21: gates[2]: unknown key 'm1n' (did you mean 'min'?)"),
    (
        "results: out",
        "zzz: out",
        "34:3: settings: unknown key 'zzz'; remove it (known keys: results)",
    ),
    ("base_url: http://127.0.0.1:8080/v1", "timeout: 5", "8:5: models.served: missing key 'base_url'"),
    ("student: small, ", "", "13:5: pairs[0]: missing key 'student'"),
    ("lm_eval: arc", "mode: generate", "20:5: tasks[1]: missing key 'lm_eval'"),
    ("{kind: speedup, min: 1.5, confidence: 0.8}", "{on: speed/*, min: 1}", "38:5: gates[2]: missing key 'metric'"),
    (
        "task: quiz/mmlu, limit: null",
        "limit: null",
        "24:5: tasks[2]: missing key 'task'",
    ),
]

NAMES = [
    ("teacher: big, s", "teacher: bigg, s", "13:15: pairs[0].teacher: no model named 'bigg' (did you mean 'big'?)"),
    ("student: small", "student: smal", "13:29: pairs[0].student: no model named 'smal' (did you mean 'small'?)"),
    (
        "student: small, m",
        "student: qqq, m",
        "13:29: pairs[0].student: no model named 'qqq'; there are big, small, scratch, served",
    ),
    ("baseline: scratch}", "baseline: scrach}", "13:66: pairs[0].baseline: no model named 'scrach' (did you mean 'scratch'?)"),
    ("{scratch: none", "{scrach: none", "16:16: pairs[1].students: no model named 'scrach' (did you mean 'scratch'?)"),
    ("{scratch: none, served: sft}", "[scratch, serve]", "16:25: pairs[1].students[1]: no model named 'serve' (did you mean 'served'?)"),
    ("student: small, m", "student: big, m", "13:29: pairs[0].student: 'big' can't be its own teacher"),
    ("{scratch: none", "{big: none", "16:16: pairs[1].students: 'big' can't be its own teacher"),
    ("baseline: scratch}", "baseline: small}", "13:66: pairs[0].baseline: a student can't be its own baseline"),
    ("baseline: scratch}", "baseline: big}", "13:66: pairs[0].baseline: the teacher can't be the baseline as well"),
    (
        "adapter: server",
        "adapter: sever",
        "8:14: models.served.adapter: no adapter named 'sever' (did you mean 'server'?); "
        "`kdbench list adapters` shows the known ones",
    ),
    (
        "- quiz/gsm8k\n",
        "- quizz/gsm8k\n",
        "19:5: tasks[0]: no task named 'quizz' (did you mean 'quiz'?); "
        "`kdbench list tasks` shows the known ones",
    ),
    (
        "task: quiz\n",
        "task: quizz\n",
        "20:11: tasks[1].task: no task named 'quizz' (did you mean 'quiz'?); "
        "`kdbench list tasks` shows the known ones",
    ),
]

PAIRS = [
    (
        '  - name: "{student}-of-{teacher}"',
        "  - {teacher: scratch, student: small}\n  - name: '{student}-of-{teacher}'",
        "14:33: pairs[1].student: two pairs are named 'small' (the other, small of big, on line 13); "
        "give one a `name`, such as 'small-vs-scratch'",
    ),
    (
        "student: small, m",
        "student: served, name: scratch-of-big, m",
        "14:11: pairs[1].name: two pairs are named 'scratch-of-big' (the other, served of big, on "
        "line 13); give one a `name`, such as 'scratch-vs-big'",
    ),
    (
        '"{student}-of-{teacher}"',
        "mine",
        "14:11: pairs[1].name: a name for several pairs needs {student} in it, such as "
        "'{student}-vs-{teacher}'",
    ),
    (
        "student: small, m",
        "student: small, name: a b, m",
        "13:42: pairs[0].name: 'a b' can't be a name: use letters, digits, '.', '_' and '-' "
        "(100 at most), and begin with a letter or digit",
    ),
    ("student: small, m", "student: [small], m", "13:29: pairs[0].student: expected text, got a list"),
    (
        "student: small, m",
        "student: small, students: [small], m",
        "13:36: pairs[0]: give `student` or `students`, not both",
    ),
    (
        "students: {scratch: none, served: sft}",
        "students: scratch",
        "16:15: pairs[1].students: expected 'all', a list or a mapping, got 'scratch'; "
        "write ['scratch']",
    ),
    ("students: {scratch: none, served: sft}", "students: []", "16:15: pairs[1].students: must not be empty"),
    (
        "students: {scratch: none, served: sft}",
        "students: {scratch: 5}",
        "16:25: pairs[1].students.scratch: expected text, got 5; put it in quotes: '5'",
    ),
    (
        "students: {scratch: none, served: sft}",
        "students: [scratch, 5]",
        "16:25: pairs[1].students[1]: expected text, got 5; put it in quotes: '5'",
    ),
    (
        "  - {teacher: big, student: small, method: forward-kl, baseline: scratch}",
        "  - small",
        "13:5: pairs[0]: expected a mapping with `teacher` and `student`, got 'small'",
    ),
]

MODELS = [
    ("big: weights/big", "big: 5", "4:8: models.big: expected a path, hf:org/name@revision or a mapping, got 5"),
    ("big: weights/big", "big:", "4:7: models.big: expected a path, hf:org/name@revision or a mapping, got nothing"),
    ("big: weights/big", "big: ''", "4:8: models.big: expected a path, hf:org/name@revision or a mapping, got ''"),
    (
        "  big: weights/big",
        "  big: weights/big\n  b g: x",
        "5:3: models: 'b g' can't be a name: use letters, digits, '.', '_' and '-' "
        "(100 at most), and begin with a letter or digit",
    ),
    (
        "  big: weights/big",
        "  big: weights/big\n  all: x",
        "5:3: models: a model can't be named 'all': `students: all` means every model",
    ),
    ("adapter: server", "adapter: 5", "8:14: models.served.adapter: expected text, got 5; put it in quotes: '5'"),
    ("model: tiny", "model: 1.5", "10:12: models.served.model: expected text, got 1.5; put it in quotes: '1.5'"),
]

TASKS = [
    ("- quiz/gsm8k\n", "- 5\n", "19:5: tasks[0]: expected a task such as reasoning/gsm8k, or a mapping with `task`, got 5"),
    ("- quiz/gsm8k\n", "-\n", "19:4: tasks[0]: expected a task such as reasoning/gsm8k, or a mapping with `task`, got nothing"),
    ("- quiz/gsm8k\n", "- speed/x\n", "19:5: tasks[0]: the task 'speed' takes nothing after a '/'; write {task: speed, ...}"),
    ("- quiz/gsm8k\n", "- quiz/\n", "19:5: tasks[0]: nothing stands after the '/' of 'quiz/'; write quiz/LM_EVAL"),
    ("- quiz/gsm8k\n", "- quiz\n", "19:5: tasks[0]: the task 'quiz' needs more: write quiz/..., or {task: quiz, lm_eval: ...}"),
    ("- quiz/gsm8k\n", "- quiz/gone.yaml\n", "19:5: tasks[0]: gone.yaml: no such task file"),
    ("- quiz/gsm8k\n", "- quiz/nothing\n", "19:5: tasks[0]: 'quiz/nothing' names no task"),
    ("- quiz/gsm8k\n", "- quiz/mmlu_law\n", "24:5: tasks[2]: 'quiz/mmlu_law' is already listed on line 19; remove one of them"),
    ("- speed\n", "- speed\n  - task: speed\n", "26:5: tasks[4]: 'speed/decode' is already listed on line 25; remove one of them"),
    ("task: quiz\n", "task: quiz/arc\n", "20:11: tasks[1].task: 'lm_eval' is here twice: after the '/' of 'quiz/arc', and as a key"),
    ("num_fewshot: 5", "num_fewshot: 99", "22:18: tasks[1].num_fewshot: must be at most 64, got 99"),
    ("num_fewshot: 5", "mode: generte", "22:11: tasks[1].mode: expected 'loglikelihood' or 'generate', got 'generte' (did you mean 'generate'?)"),
    ("num_fewshot: 5", "bins: many", "22:11: tasks[1].bins: expected a whole number or 'auto', got 'many'"),
    ("num_fewshot: 5", "steps: 5", "22:12: tasks[1].steps: expected 'all', a list or a mapping, got 5; write [5]"),
    ("num_fewshot: 5", "steps: {a: x}", "22:16: tasks[1].steps.a: expected a whole number, got 'x'"),
    ("num_fewshot: 5", "steps: [1, x]", "22:16: tasks[1].steps[1]: expected a whole number, got 'x'"),
    ("num_fewshot: 5", "scale: {lw: 1}", "22:13: tasks[1].scale: unknown key 'lw' (did you mean 'low'?)"),
    ("num_fewshot: 5", "scale: {low: 1, qq: 1}", "22:21: tasks[1].scale: unknown key 'qq'; remove it (known keys: high)"),
    ("num_fewshot: 5", "scale: {}", "22:12: tasks[1].scale: missing key 'low'"),
    ("num_fewshot: 5", "scale: [1]", "22:12: tasks[1].scale: expected a mapping, got a list"),
    ("num_fewshot: 5", "scales: [{low: 1}, {lw: 2}]", "22:25: tasks[1].scales[1]: unknown key 'lw' (did you mean 'low'?)"),
    ("num_fewshot: 5", "tags: a", "22:11: tasks[1].tags: expected a list, got 'a'; write ['a']"),
    ("num_fewshot: 5", "folder: 5", "22:13: tasks[1].folder: expected text, got 5; put it in quotes: '5'"),
]
# fmt: on


@pytest.mark.parametrize(("old", "new", "line"), TYPES + KEYS + NAMES + PAIRS + MODELS + TASKS)
def test_one_mistake_gives_one_message_at_its_place(
    told: Told, old: str, new: str, line: str
) -> None:
    assert old in GOOD
    assert told(GOOD.replace(old, new, 1)) == [f"s.yaml:{line}"]
