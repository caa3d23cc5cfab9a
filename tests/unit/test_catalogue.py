"""What `kdbench show` says of tasks."""

from __future__ import annotations

import pytest

from kdbench import registry
from kdbench.errors import UnknownNameError
from kdbench.run.catalogue import describe


@pytest.mark.parametrize("name", registry.tasks.names())
def test_every_task_describes_itself_by_its_name_alone(name: str) -> None:
    about = describe(name)
    assert about["task"] == name
    assert about["about"] and about["source"] and about["version"] >= 1


def test_a_value_that_a_task_does_not_know_is_told() -> None:
    with pytest.raises(
        UnknownNameError, match="code/nonsense: Input should be 'humaneval' or 'mbpp'"
    ):
        describe("code/nonsense")
