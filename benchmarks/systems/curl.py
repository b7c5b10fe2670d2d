"""The wire's ceiling: `curl --compressed` of the result pages, several at once, to nowhere."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from measured import Task, main


def prepare(task: Task) -> Callable[[], int]:
    command = ["curl", "--compressed", "-sS", "--fail", "--parallel", "--parallel-max", str(task["parallel"])]
    command += ["-H", f"Authorization: Bearer {task['token']}"]
    for url in task["page_urls"]:
        command += ["-o", "/dev/null", url]

    def work() -> int:
        subprocess.run(command, check=True)
        return int(task["rows"])

    return work


main(prepare)
